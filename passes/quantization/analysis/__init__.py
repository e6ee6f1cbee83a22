"""``tamis analyze --quantization``."""
