"""Canonical forms: the same function in the fewest and plainest nodes."""
