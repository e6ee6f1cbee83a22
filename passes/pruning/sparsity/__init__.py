"""Which weights become zero, and what the others do about it."""
