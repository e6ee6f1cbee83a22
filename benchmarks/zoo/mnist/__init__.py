"""Handwritten digits and four small networks of ours for them: see ``entries``."""
