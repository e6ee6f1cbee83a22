"""Graphs of ``own_cases.yaml``, which are not in the suite, as cases; ONNX Runtime decides what is right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml

from benchmarks.corpus.cases import Case
from benchmarks.tvm_corpus.forms import Form

FILE = Path(__file__).with_name("own_cases.yaml")
SPREAD = 3
"""Factor on the normally distributed numbers that are fed."""


def own_forms() -> Iterator[Form]:
    """All of them, in the order of the file."""
    for name, entry in yaml.safe_load(FILE.read_text(encoding="utf-8")).items():
        opset = entry["opset"]
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\ng {entry["graph"]}')
        fed = np.asarray(_input(model.graph.input[0].type.tensor_type, entry.get("input"), entry.get("sizes", {})))
        yield Form(Case(f"own/{name}", model, (([fed], []),), rtol=1e-3, atol=1e-7), f"opset {opset}")


def _input(kind: onnx.TypeProto.Tensor, given: Any, sizes: Mapping[str, int]) -> np.ndarray[Any, Any]:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if given is not None:
        return np.asarray(given, dtype)
    drawn = (
        np.random.default_rng(0).standard_normal([sizes.get(d.dim_param, d.dim_value) for d in kind.shape.dim]) * SPREAD
    )
    return (
        np.asarray(drawn > 0)
        if dtype == np.bool_
        else np.asarray(np.abs(drawn) if dtype == np.uint8 else drawn).astype(dtype)
    )
