"""Pictures with boxes: annotations of the usual formats, views, augmentations and batches that keep boxes. Floor 1."""
