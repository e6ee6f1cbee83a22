"""What quantized operators compute, in floats."""
