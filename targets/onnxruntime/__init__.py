"""The runtime ``onnxruntime``: lower, load, tune and describe models for ONNX Runtime on the CPU."""
