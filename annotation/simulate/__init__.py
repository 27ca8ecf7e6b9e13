"""People with known faults, so that a review can be tried and its cost counted without people."""
