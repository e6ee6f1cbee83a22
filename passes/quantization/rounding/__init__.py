"""Weights and biases in few bits."""
