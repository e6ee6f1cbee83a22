"""How much of a quantized model runs in integer kernels: what the runtime really executes, not what the file says."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
import onnxruntime

from benchmarks.side_by_side.candidate import Candidate
from benchmarks.side_by_side.figures import onnx_file
from benchmarks.side_by_side.runners import compiled_by_openvino, options
from tamis.compiler.bundle import open_bundle
from tamis.compiler.loaded_model import bundle_runtime

INTEGER = frozenset(
    {
        *("QLinearConv", "QLinearConvTranspose", "ConvInteger"),
        *("QLinearMatMul", "QGemm", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits"),
        *("QAttention", "DynamicQuantizeLSTM"),
    }
)
"""Operators of ONNX Runtime's optimized graph that compute in integers."""
FLOAT = frozenset(
    {
        *("Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose"),
        *("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "Attention", "MultiHeadAttention"),
        *("LSTM", "GRU", "RNN"),
    }
)
"""Those that compute the like in float."""
OPENVINO = frozenset(
    {"Convolution", "Deconvolution", "FullyConnected", "MatMul", "LSTMSequence", "LSTMCell", "GRUSequence", "RNNSeq"}
)
"""Layers of OpenVINO that compute the like; the precision says how."""


@dataclass(frozen=True)
class Fired:
    """Nodes of the graph that is executed.

    Args:
        integer: Convolutions, matrix products and recurrent nodes in integer kernels.
        computing: All of those, in whatever kernel.
        dequantized: Nodes that are computed in float from weights or values that are dequantized just before.
        operators: Operator -> nodes.
    """

    integer: int
    computing: int
    dequantized: int
    operators: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As data."""
        return asdict(self)


def fired(made: Candidate, threads: int) -> Fired:
    """Count what runs."""
    if made.run_by == "openvino":
        return _openvino(made.path, threads)
    settings = options(threads)
    if made.run_by == "tamis":
        bundle = open_bundle(made.path, check=False)
        runner: Any = bundle_runtime(bundle).load(bundle.folder, bundle.artifact)
        settings = runner.settings.session_options(onnxruntime)
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "optimized.onnx"
        settings.optimized_model_filepath = str(target)
        onnxruntime.InferenceSession(str(onnx_file(made)), settings, providers=["CPUExecutionProvider"])
        nodes = list(_nodes(ir.load(target).graph))
        operators = Counter(node.op_type for node in nodes)
        left = sum(node.op_type in FLOAT and _dequantizes(node) for node in nodes)
    integer = sum(operators[name] for name in INTEGER)
    return Fired(integer, integer + sum(operators[name] for name in FLOAT), left, dict(operators))


def _nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    yield from ir.traversal.RecursiveGraphIterator(graph)


def _dequantizes(node: ir.Node) -> bool:
    producers = [value.producer() for value in node.inputs if value is not None]
    return any(p is not None and p.op_type == "DequantizeLinear" for p in producers)


def _openvino(path: Path, threads: int) -> Fired:
    operators: Counter[str] = Counter()
    integer = computing = 0
    for node in compiled_by_openvino(path, threads).get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        kind, precision = (_text(facts[key]) for key in ("layerType", "runtimePrecision"))
        operators[f"{kind}:{precision}"] += 1
        computing += kind in OPENVINO
        integer += kind in OPENVINO and precision in ("i8", "u8")
    return Fired(integer, computing, 0, dict(operators))


def _text(fact: Any) -> str:
    """A fact of a node of OpenVINO, which may come in a box."""
    return str(fact.get() if hasattr(fact, "get") else fact)
