"""What lies in front of a face in a photo: hair, hands, spectacles."""
