"""Fusions: several nodes become one, with the same function up to rounding."""
