"""``tamis build``: many models, recipes and targets from one file."""
