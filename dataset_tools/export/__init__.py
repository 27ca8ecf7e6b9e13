"""Write a finished manifest in the formats people use, with a card, and publish it."""
