"""LabelMe as the tool of a review session: a folder of JSON files and pictures for each person."""
