"""Scales moved between layers."""
