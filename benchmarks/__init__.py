"""Measurements of tamis on real models: the model zoo, scripts and recorded results. Not part of the wheel."""
