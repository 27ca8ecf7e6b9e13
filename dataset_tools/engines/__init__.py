"""Engines other than this machine's own processes, and workspaces kept elsewhere."""
