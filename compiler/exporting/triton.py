"""A bundle as an entry of a Triton model repository.

::

    <name>/config.pbtxt     inputs, outputs, threads, level of graph optimization
    <name>/1/model.onnx     with its external data, if any

Triton's ONNX Runtime backend takes few session options. What the manifest has beyond them is returned as notes. Times may
depend on it. Results do in one case: ONNX Runtime quantizes float weights between Q and DQ unless it is told not to.

References: https://github.com/triton-inference-server/onnxruntime_backend (README.md, src/onnxruntime.cc);
``ModelConfig`` in https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.compiler.bundle import Bundle
from tamis.compiler.errors import TargetUnavailableError, UsageError
from tamis.compiler.manifest import NODES_NAMED
from tamis.compiler.staging import staged

if TYPE_CHECKING:
    import onnx_ir as ir

CONFIG = "config.pbtxt"
MARK = "# written by tamis"
LEVELS: dict[str, int | None] = {"off": 2, "basic": -1, "extended": 1, "layout": None, "all": None}
"""The manifest's levels of graph optimization as the backend numbers them; None is its default, all of them."""
TYPES = {
    "BOOL": "BOOL", "UINT8": "UINT8", "UINT16": "UINT16", "UINT32": "UINT32", "UINT64": "UINT64",
    "INT8": "INT8", "INT16": "INT16", "INT32": "INT32", "INT64": "INT64",
    "FLOAT16": "FP16", "FLOAT": "FP32", "DOUBLE": "FP64", "STRING": "STRING", "BFLOAT16": "BF16",
}  # fmt: skip
"""ONNX element types -> Triton's, without the prefix ``TYPE_``."""
GPU_PROVIDERS = ("cuda", "tensorrt")
STATED = ("threads", "graph_optimization", "provider", "device_id")
"""Settings that the configuration states."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class TritonModel:
    """What was written.

    Args:
        name: Of the model in the repository.
        path: Its folder.
        notes: Settings of the bundle that the backend cannot be told.
    """

    name: str
    path: Path
    notes: tuple[str, ...]


def export_triton(bundle: Bundle, repository: Path, *, name: str | None = None, max_batch: int = 0) -> TritonModel:
    """Write a bundle into a model repository, beside the models that are there.

    Args:
        bundle: With checked digests; its lowered model must be an ONNX file.
        repository: The folder that ``tritonserver --model-repository`` gets.
        name: Of the model. Default: from the name of the source model.
        max_batch: ``max_batch_size``: how many samples Triton may put into one call. 0 leaves shapes as they are.

    Raises:
        TargetUnavailableError: The lowered model is not an ONNX file, or has types that Triton lacks.
        UsageError: ``name`` or ``max_batch`` does not fit.
        OutputError, WriteError: The repository cannot be written, or ``name`` was not made by tamis.
    """
    from tamis.compiler.model_file import load_model

    chosen = name or re.sub(r"[^A-Za-z0-9_-]", "_", Path(bundle.report.model).stem) or "model"
    if not _NAME.fullmatch(chosen):
        raise UsageError(
            "is not a name for a model", where="--name", expected="letters, digits and _-.", found=repr(chosen)
        )
    first = bundle.report.artifact[0]
    if not first.endswith(".onnx"):
        raise TargetUnavailableError(
            "Triton's ONNX Runtime backend cannot load it",
            where=f"{bundle.path}: {first}",
            expected="a lowered model that is an ONNX file",
            found=f"runtime {bundle.report.target.runtime}",
            fix="compile the recipe with 'runtime: onnxruntime', or serve the bundle by its own loader",
        )
    text, notes = config_text(bundle, load_model(bundle.folder / first).graph, chosen, max_batch)
    out = repository.absolute() / chosen
    with staged(out, replaceable=_is_ours) as staging:
        (staging.folder / CONFIG).write_text(text, encoding="utf-8")
        for file in bundle.report.artifact:
            path = staging.folder / "1" / ("model.onnx" if file == first else file)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.folder / file, path)
    return TritonModel(chosen, out, tuple(notes))


def config_text(bundle: Bundle, graph: ir.Graph, name: str, max_batch: int) -> tuple[str, list[str]]:
    """``config.pbtxt``, and what it could not say."""
    settings = bundle.report.target.settings
    initialized = graph.initializers
    inputs = [v for v in graph.inputs if v.name not in initialized]
    if max_batch:
        _check_batch(bundle, (*inputs, *graph.outputs), max_batch)
    batched = bool(max_batch)
    lines = [MARK, f"name: {_quoted(name)}", 'platform: "onnxruntime_onnx"', f"max_batch_size: {max_batch}"]
    lines += [_tensor("input", v, batched) for v in inputs]
    lines += [_tensor("output", v, batched) for v in graph.outputs]
    lines.append(_instances(settings))
    lines += _optimization(settings)
    if isinstance(threads := settings.get("threads"), int):
        lines.append(_parameter("intra_op_thread_count", threads))
    lines.append(_parameter("execution_mode", 0))
    notes = [f"{key}: {value}" for key, value in sorted(settings.items()) if key not in STATED]
    if (nodes := _float_weights(graph)) and settings.get("graph_optimization") != "off":
        notes.append(
            f"float weights of {', '.join(nodes[:NODES_NAMED])} and {len(nodes)} nodes in all: Triton quantizes them to 8 bits, "
            "so outputs differ from the golden ones"
        )
    if settings.get("graph_optimization") == "layout":
        notes.append("graph_optimization: layout (the backend uses all)")
    return "\n".join(lines) + "\n", notes


def _float_weights(graph: ir.Graph) -> list[str]:
    """Nodes of float weights between Q and DQ: what the optimizer WeightBiasQuantization of ONNX Runtime looks for."""
    found = []
    for node in graph.all_nodes():
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or node.domain not in ("", "ai.onnx"):
            continue
        data, weight = node.inputs[:2]
        before = data.producer() if data is not None else None
        after = {user.op_type for user in node.outputs[0].consumers()}
        constant = weight is not None and weight.is_initializer()
        if constant and before is not None and before.op_type == "DequantizeLinear" and "QuantizeLinear" in after:
            found.append(node.name or node.outputs[0].name or node.op_type)
    return found


def _check_batch(bundle: Bundle, values: Iterable[ir.Value], max_batch: int) -> None:
    """Every input and output begins with the same free dimension, whose range holds ``max_batch``."""
    firsts = {str(v.shape[0]) if v.shape is not None and len(v.shape) else "" for v in values}
    symbol = next(iter(firsts))
    if len(firsts) != 1 or not symbol or symbol.isdecimal() or symbol == "None":
        raise UsageError(
            "the model cannot be batched",
            where="--max-batch-size",
            expected="inputs and outputs whose first dimension is the same free one",
            found=", ".join(sorted(f or "a scalar" for f in firsts)),
            fix="leave the option out, or give the first dimension a range in the recipe's inputs",
        )
    low, high = bundle.report.dims.get(symbol, (1, max_batch))
    if not low <= 1 <= max_batch <= high:
        raise UsageError(
            "is outside what the bundle was proven for",
            where="--max-batch-size",
            expected=f"a range of {symbol} from 1 to {max_batch}",
            found=f"{low} to {high}",
        )


def _tensor(kind: str, value: ir.Value, batched: bool) -> str:
    found = value.dtype.name if value.dtype is not None else "none"
    if found not in TYPES or value.shape is None:
        raise TargetUnavailableError(
            "Triton has no such type",
            where=f"{kind} {value.name}",
            expected="a tensor of known rank of bool, integers, floats or strings",
            found=found.lower() if value.shape is not None else "a tensor of unknown rank",
        )
    dims = [d if isinstance(d, int) else -1 for d in value.shape][1 if batched else 0 :]
    shape = f"dims: [ {', '.join(map(str, dims))} ]" if dims else "dims: [ 1 ] reshape { shape: [ ] }"
    return f"{kind} {{ name: {_quoted(value.name or '')} data_type: TYPE_{TYPES[found]} {shape} }}"


def _instances(settings: dict[str, Any]) -> str:
    if settings.get("provider") not in GPU_PROVIDERS:
        return "instance_group { count: 1 kind: KIND_CPU }"
    return f"instance_group {{ count: 1 kind: KIND_GPU gpus: [ {settings.get('device_id') or 0} ] }}"


def _optimization(settings: dict[str, Any]) -> list[str]:
    parts = []
    level = LEVELS.get(str(settings.get("graph_optimization", "all")))
    if level is not None:
        parts.append(f"graph {{ level: {level} }}")
    if settings.get("provider") == "tensorrt":
        parts.append('execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } }')
    return [f"optimization {{ {' '.join(parts)} }}"] if parts else []


def _parameter(key: str, value: int) -> str:
    return f'parameters {{ key: {_quoted(key)} value {{ string_value: "{value}" }} }}'


def _quoted(text: str) -> str:
    """A string of protobuf's text format: bytes outside printable ASCII in octal."""
    plain = (chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03o}" for b in text.encode())
    return f'"{"".join(plain)}"'


def _is_ours(path: Path) -> bool:
    try:
        return (path / CONFIG).read_text(encoding="utf-8").startswith(MARK)
    except (OSError, ValueError):
        return False
