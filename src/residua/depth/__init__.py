"""What depth does: measure units, leave them out, add and remove them, look at the loss around a net. Floor 2."""
