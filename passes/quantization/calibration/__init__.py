"""Ranges of activations, from statistics over samples."""
