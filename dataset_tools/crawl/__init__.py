"""Collects pictures from folders, URL lists and published datasets into the first manifest."""
