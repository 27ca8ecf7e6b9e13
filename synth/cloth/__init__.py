"""What masks are made of: fabric, colour, relief, and cloth in the photo's light."""
