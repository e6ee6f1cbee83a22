"""Compute, or only store weights, in float16.

::

    MatMul(x, W)  ->  Cast_f32(MatMul(Cast_f16(x), W_f16))         default: computation and weights
    MatMul(x, W)  ->  MatMul(x, Cast_f32(W_f16))                   weights_only: half the file, float32 kernels

Casts stand only where float16 meets float32; graph inputs and outputs keep their types.

*Refuses*: operators that sum, exponentiate or compute coordinates (``float16_ports.KEPT_FLOAT32``), those
without a float16 form, of other domains or with subgraphs (whose nodes are converted one by one);
constants, and on calibration samples values, that float16 cannot hold; integers turned into floats; values of unknown type.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal

import onnx_ir as ir
from pydantic import Field

from tamis.compiler.graph_pass import Contract, GraphPass, PassContext, PassOptions, PassResult, Skip, Stage
from tamis.compiler.rewriting.graph_edit import Names
from tamis.passes.quantization.float16.edges import FLOAT, HALF, Edges, Use
from tamis.passes.quantization.float16.nodes import float_ports, has_float, refusal
from tamis.passes.quantization.float16.ranges import values_out_of_range
from tamis.passes.quantization.float16.storage import store_float16


class Options(PassOptions):
    """Options of ``convert-float16``."""

    weights_only: bool = Field(
        False,
        description="Store weights as float16 and compute in float32: halves the file on any runtime, "
        "which widens the weights once, when it loads the model.",
    )
    min_elements: int = Field(
        1024, ge=0, le=2**31, description="weights_only: weights with fewer elements stay in float32."
    )
    ranges: Literal["measured", "off"] = Field(
        "measured",
        description="measured: with calibration samples, nodes stay in float32 that read or write values beyond half the "
        "range of float16, or only such as are below its normal numbers.",
    )
    keep_float32: tuple[str, ...] = Field((), description="Further operators that stay in float32, e.g. Softmax.")
    exclude: tuple[str, ...] = Field((), description="Nodes whose name matches one of these globs stay in float32.")


class ConvertFloat16(GraphPass[Options]):
    """Convert float32 computation, or only the stored weights, to float16.

    *Match*: standard operators with float32 inputs or outputs that their ONNX schema allows to be
    float16, in all graphs; with ``weights_only`` float32 initializers.

    *Rewrite*: matched nodes, their constants, and attributes that name a type (``Cast``,
    ``ConstantOfShape``) go to float16; Casts join them to what stays in float32.

    *Shapes*: unchanged.

    *Preserves*: names and types of graph inputs and outputs. Values up to 11-bit rounding of weights and,
    without ``weights_only``, of every intermediate result, of which those beyond 65504 overflow.

    *References*: Micikevicius et al., "Mixed precision training", 2018 (1710.03740), sections 2 and 3.3 (which
    operations to keep in float32); IEEE 754-2019 binary16.
    """

    name = "convert-float16"
    stage = Stage.QUANTIZE
    contract = Contract.LOSSY
    options_type = Options

    def call(self, model: ir.Model, context: PassContext) -> PassResult:
        counts: Counter[str] = Counter()
        if self.options.weights_only:
            skips = store_float16(model, self.options.min_elements, counts)
        else:
            skips = self._convert(model, counts, context)
        done = {what: count for what, count in counts.items() if count}
        return PassResult(model, modified=bool(done), counts=done, skips=tuple(skips))

    def _convert(self, model: ir.Model, counts: Counter[str], context: PassContext) -> list[Skip]:
        opset = model.graph.opset_imports.get("", 0)
        chosen, skips = self._choose(model, opset)
        if context.samples is not None and self.options.ranges == "measured" and chosen:
            wild = values_out_of_range(model, chosen, context.samples)
            skips += [Skip(reason, n.name or n.op_type) for n in chosen if (reason := _first(n, wild))]
            chosen = [node for node in chosen if not _first(node, wild)]
        edges = Edges(Names(model))
        narrow: dict[ir.Value, list[Use]] = defaultdict(list)
        results: dict[ir.Value, None] = {}
        for node in chosen:
            inputs, outputs = float_ports(node, opset)
            results.update((v, None) for v, port in zip(node.outputs, outputs, strict=True) if port)
            for index, (value, port) in enumerate(zip(node.inputs, inputs, strict=True)):
                if value is not None and port:
                    narrow[value].append((node, index))
        for value in results:
            value.type = ir.TensorType(HALF)
            readers = set(narrow.pop(value, ()))
            edges.widen(value, [(u.node, u.idx) for u in value.uses() if (u.node, u.idx) not in readers])
        for value, uses in narrow.items():
            edges.narrow(value, uses)
        for node in chosen:
            _set_type_attribute(node)
        counts["nodes converted"] = len(chosen)
        counts["elements vanished"] = edges.vanished
        return skips

    def _choose(self, model: ir.Model, opset: int) -> tuple[list[ir.Node], list[Skip]]:
        """Nodes that go to float16, and the others that have float32 values."""
        chosen: list[ir.Node] = []
        skips: list[Skip] = []
        for graph in model.graphs():
            for node in graph:
                if not has_float(node):
                    continue
                reason = self._refusal(node, model, opset)
                if reason is None:
                    chosen.append(node)
                else:
                    skips.append(Skip(reason, node.name or node.op_type))
        return chosen, skips

    def _refusal(self, node: ir.Node, model: ir.Model, opset: int) -> str | None:
        if any(fnmatchcase(node.name or "", glob) for glob in self.options.exclude):
            return "matched by exclude"
        if node.op_identifier() in model.functions:
            return "operator is a function of the model"
        return refusal(node, opset, self.options.keep_float32)


def _first(node: ir.Node, reasons: Mapping[ir.Value, str]) -> str | None:
    """The reason of the first input or output of ``node`` that has one."""
    return next((reasons[v] for v in (*node.inputs, *node.outputs) if v is not None and v in reasons), None)


def _set_type_attribute(node: ir.Node) -> None:
    if node.op_type == "Cast":
        node.attributes["to"] = ir.AttrInt64("to", int(HALF))
    elif node.op_type == "ConstantOfShape":
        old = node.attributes.get("value")
        fill = ir.tensor([0.0], FLOAT) if old is None else old.as_tensor()
        node.attributes["value"] = ir.AttrTensor("value", ir.tensor(fill.numpy().astype("float16")))
