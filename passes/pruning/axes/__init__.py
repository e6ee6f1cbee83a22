"""Which slices of which tensors go together: the axis graph."""
