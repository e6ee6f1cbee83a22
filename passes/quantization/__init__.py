"""Number formats: the same network in fewer bits."""
