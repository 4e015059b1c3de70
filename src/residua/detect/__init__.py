"""Faster R-CNN on residual nets: what it is, what it finds, how good that is, and why. Floor 2."""
