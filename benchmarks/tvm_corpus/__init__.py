"""ONNX's own backend test suite as a check of what TVM's pre-check refuses: ``make bench-tvm-corpus``."""
