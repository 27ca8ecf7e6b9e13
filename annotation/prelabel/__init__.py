"""Machine proposals for samples that nobody has labelled."""
