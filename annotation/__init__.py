"""Machine proposals and human review: pre-labelling, Label Studio sessions, merging of verdicts."""
