"""NVIDIA GPUs: kernels scheduled, compiled and checked against the device's limits on a machine that has no GPU."""
