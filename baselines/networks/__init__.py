"""Networks written by hand: what no library has. Importing one loads torch, `baselines.models` does not."""
