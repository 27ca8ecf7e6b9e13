"""A small detector of faces and their wearing state, trained on rendered masks."""
