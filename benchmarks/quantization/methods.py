"""The table of quantizers: name -> the function, as ``module:attribute``, imported in the process that runs it."""

from __future__ import annotations

import importlib

from benchmarks.side_by_side.candidate import Maker

HERE = "benchmarks.quantization"
METHODS = {
    "ort-static-default": f"{HERE}.onnxruntime_quantizers:static_default",
    "ort-static-best": f"{HERE}.onnxruntime_quantizers:static_best",
    "ort-dynamic-default": f"{HERE}.onnxruntime_quantizers:dynamic_default",
    "ort-dynamic-best": f"{HERE}.onnxruntime_quantizers:dynamic_products",
    "nncf-onnxruntime": f"{HERE}.nncf_quantizers:for_onnxruntime",
    "openvino-float": f"{HERE}.nncf_quantizers:openvino_float",
    "nncf-openvino": f"{HERE}.nncf_quantizers:for_openvino",
    "nncf-accuracy": f"{HERE}.nncf_quantizers:with_accuracy_control",
    "olive-static": f"{HERE}.olive_quantizers:static",
    "olive-dynamic": f"{HERE}.olive_quantizers:dynamic",
    "onnxsim-static": f"{HERE}.onnxsim_quantizers:static",
    "onnxsim-dynamic": f"{HERE}.onnxsim_quantizers:dynamic",
}
RECIPES = ("lossless", "int8", "int8-dynamic", "mixed")
"""Recipes of tamis; ``tamis-int8`` is the method of ``int8``. ``lossless`` tells apart what is not due to int8."""
NAMES = (*METHODS, *(f"tamis-{name}" for name in RECIPES))


def quantizer(name: str) -> Maker:
    """The quantizer of that name.

    Raises:
        ImportError: What it needs is not installed.
    """
    if name not in METHODS:
        from benchmarks.quantization.tamis_recipes import by_recipe

        return by_recipe(name.removeprefix("tamis-"))
    module, _, attribute = METHODS[name].partition(":")
    found: Maker = getattr(importlib.import_module(module), attribute)
    return found
