"""Things other than masks in front of faces."""
