"""ONNX Runtime on the CPU: the lowering that always works, and the reference for verification."""
