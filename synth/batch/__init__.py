"""The renderer in batches on a torch device, for many faces at once."""
