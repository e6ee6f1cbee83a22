"""``tamis diff``: what changed between two bundles."""
