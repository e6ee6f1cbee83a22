"""Random small legal graphs: what exporters write, in many spellings and shapes.

A graph grows move by move on images [N, C, H, W] (N may be dynamic). Each move reads tensors that are there and adds
one or more, so that any tensor may get several readers, and any may be a graph output. Hypothesis draws every choice,
the plain one first, so that a failing graph shrinks to the few nodes that matter.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from hypothesis import strategies as st
from hypothesis.vendor.pretty import RepresentationPrinter

from tamis.compiler.input_spec import InputSpec, TensorSpec
from tests import models
from tests.properties import arithmetic, structure
from tests.properties.writer import Shape, Size, Writer

OPSETS = (17, 11, 13, 18, 20)
KINDS = ("float", "float", "float", "float", "double", "float16")
BATCHES: tuple[Size, ...] = (1, 2, "N")
SIZES = ((3, 4, 4), (4, 4, 4), (2, 3, 5), (8, 4, 4), (1, 4, 4), (4, 1, 4), (3, 1, 1), (16, 4, 4))
"""Channels, height and width of the input."""
MOVES = (
    arithmetic.conv,
    arithmetic.affine,
    arithmetic.batch_norm,
    arithmetic.simple_activation,
    arithmetic.hard_gate,
    arithmetic.gate,
    arithmetic.gelu,
    arithmetic.clip,
    arithmetic.prelu,
    arithmetic.norm,
    arithmetic.softmax,
    arithmetic.branches,
    arithmetic.squeeze_and_excite,
    structure.residual,
    structure.pad,
    structure.pool,
    structure.reshape,
    structure.computed_reshape,
    structure.squeeze_back,
    structure.transpose,
    structure.concat,
    structure.cut,
    structure.product,
    structure.no_op,
    structure.cast_there_and_back,
    structure.resize,
    structure.again,
    structure.branch,
    structure.shuffle,
    structure.attention,
)
MOTIFS = (
    (arithmetic.hard_gate, arithmetic.conv),
    (arithmetic.gate, arithmetic.conv),
    (arithmetic.gelu, structure.product),
    (arithmetic.norm, structure.product),
    (arithmetic.conv, arithmetic.squeeze_and_excite),
    (arithmetic.conv, arithmetic.simple_activation, structure.shuffle, arithmetic.conv),
    (structure.reshape, structure.reshape),
    (arithmetic.conv, structure.resize, arithmetic.conv),
    (structure.product, structure.product),
    (arithmetic.conv, arithmetic.affine),
    (arithmetic.conv, arithmetic.affine, arithmetic.affine),
    (arithmetic.affine, arithmetic.conv),
    (arithmetic.conv, arithmetic.batch_norm, arithmetic.simple_activation),
    (arithmetic.conv, arithmetic.simple_activation, arithmetic.batch_norm, arithmetic.conv),
    (arithmetic.conv, arithmetic.conv),
    (arithmetic.conv, arithmetic.hard_gate),
    (arithmetic.conv, arithmetic.prelu, arithmetic.conv),
    (structure.pad, arithmetic.conv),
    (arithmetic.affine, structure.pad, arithmetic.conv),
    (structure.pad, structure.pool),
    (structure.transpose, arithmetic.affine, structure.transpose),
    (structure.transpose, structure.residual, structure.transpose),
    (structure.cut, structure.cut, structure.concat),
)
"""Moves in a row that some pass is looking for."""
MOST_RUNS = 6
NO_DOUBLE = re.compile(r"\b(Conv|PRelu|Erf|Softplus|Clip|HardSigmoid|LeakyRelu|GlobalAveragePool|AveragePool|Resize)\b")
"""Operators that ONNX Runtime computes in single precision only."""


@dataclass(frozen=True)
class Graph:
    """A model with what it may be fed.

    Args:
        model: Valid.
        spec: Of its input.
        text: ONNX text, for messages.
    """

    model: ir.Model
    spec: InputSpec
    text: str

    def _repr_pretty_(self, printer: RepresentationPrinter, cycle: bool) -> None:
        """What hypothesis shows of a failing graph."""
        printer.text(self.text)


@st.composite
def graphs(draw: st.DrawFn, most: int = MOST_RUNS, kinds: tuple[str, ...] = KINDS) -> Graph:
    """Random graphs of at most ``most`` runs of moves, of one of the element types."""
    writer = Writer(draw, draw(st.sampled_from(kinds)), draw(st.sampled_from(OPSETS)))
    batch = draw(st.sampled_from(BATCHES))
    shape: Shape = (batch, *draw(st.sampled_from(SIZES)))
    writer.shapes["x"] = shape
    runs = st.one_of(st.sampled_from([(move,) for move in MOVES]), st.sampled_from(MOTIFS))
    for move in itertools.chain.from_iterable(draw(st.lists(runs, min_size=1, max_size=most))):
        before = writer.copy()
        move(writer)
        if _without_kernel(writer):
            writer = before
    made = [name for name in writer.shapes if name != "x"]
    if not made:
        made = [writer.op("Relu (x)", shape)]
    more = draw(st.sets(st.sampled_from(made), max_size=2))
    outputs = [name for name in made if name in more or name == made[-1]]
    return finish(writer, outputs)


def finish(writer: Writer, outputs: list[str]) -> Graph:
    """The graph with these outputs."""
    shape = writer.shapes["x"]
    declared = ", ".join(f"{writer.kind}{_sizes(writer.shapes[name])} {name}" for name in outputs)
    lines = "\n".join(f"  {line}" for line in writer.lines)
    text = f"g ({writer.kind}{_sizes(shape)} x) => ({declared}) {{\n{lines}\n}}"
    words = set(re.findall(r"\w+", text))
    used = {name: array for name, array in writer.constants.items() if name in words}
    spec = InputSpec((TensorSpec("x", np.dtype(writer.dtype), shape),), {"N": (1, 3)} if "N" in shape else {})
    constants = "\n".join(
        f"# {name} = {array.dtype}{list(array.shape)} {array.ravel()[:4]}" for name, array in used.items()
    )
    return Graph(models.model(text, writer.opset, **used), spec, f"# opset {writer.opset}\n{text}\n{constants}")


def _without_kernel(writer: Writer) -> bool:
    return writer.kind == "double" and any(NO_DOUBLE.search(line) for line in writer.lines)


def _sizes(shape: Shape) -> str:
    return f"[{', '.join(map(str, shape))}]" if shape else ""
