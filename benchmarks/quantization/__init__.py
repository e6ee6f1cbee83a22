"""Quantized models, ours and those of other quantizers, judged side by side in an environment of their own."""
