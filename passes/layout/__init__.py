"""Layouts: the same tensors with their axes and channels in an order that needs less moving."""
