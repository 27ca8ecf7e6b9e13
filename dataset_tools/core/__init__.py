"""The shared language of all rooms: records, masks, images, manifests, stages, errors."""
