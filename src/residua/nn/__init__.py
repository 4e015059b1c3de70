"""Nets: the residual unit, the zoo, the model file. Imports torch only."""
