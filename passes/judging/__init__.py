"""What a candidate does to the outputs of a model, and to its task."""
