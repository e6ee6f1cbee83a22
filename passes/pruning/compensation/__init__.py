"""What stays takes over from what goes: least squares with data, merging without."""
