"""A model beside the review page: proposals on demand, regions from clicks and boxes, retraining."""
