"""Files to batches: sources, decoding, the view, augmentations. Knows no net."""
