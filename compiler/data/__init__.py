"""Samples from files: arrays, images, and what an installed data set gives; ``data_source`` is the way in."""
