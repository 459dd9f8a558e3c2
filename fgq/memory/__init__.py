"""What a model costs: bytes of weights by part, precision and recipe; memory and time of a forward pass."""
