"""From a list of sources to a reviewed, published dataset of masked and occluded faces."""
