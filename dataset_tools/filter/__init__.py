"""Find faces, judge pictures, drop what is unusable or there twice."""
