"""The models that come with the suite: their recipes, how they are made, packed and described."""
