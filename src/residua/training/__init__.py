"""Training: recipes, optimisers, the loop, the run folder. Importing the package imports no torch."""
