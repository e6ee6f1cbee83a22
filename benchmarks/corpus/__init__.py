"""ONNX's own backend test suite as a proof that the lossless passes change nothing: ``make bench-corpus``."""
