"""Dataset formats, each in and out: one file and one line in `registry` per format."""
