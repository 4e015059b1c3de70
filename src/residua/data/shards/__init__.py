"""Data larger than a disk: pictures in tar files in WebDataset's layout, here or far away."""
