"""Count what a dataset holds and show it on one self-contained page."""
