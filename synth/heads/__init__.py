"""Heads of people who do not exist, drawn with everything about them known."""
