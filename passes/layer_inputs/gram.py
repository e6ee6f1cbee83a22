"""Gram matrices of layer inputs, streamed over samples.

::

    y = x W;  x: (P, K) rows of one sample      G += x^T x,  C += x_float^T x,  mean += sum of rows

What a change of W does to the output depends on the data only through them: the error of the layer is
``trace(E^T G E)`` for ``E = W - W'``. Convolutions are read as matrix products, K over (kernel..., channel).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.errors import DataError
from tamis.compiler.graph_pass import Feeds
from tamis.compiler.observe import observe
from tamis.passes.layer_inputs.layer_rows import layer_rows

Array = np.ndarray[Any, np.dtype[Any]]
MEMORY = 512 << 20
"""Bytes of Gram matrices that are held at once."""
UNLIMITED = 2**62
LAYERS = 8
"""Layers whose inputs, in two models, are held at once."""


@dataclass(frozen=True)
class Layer:
    """A layer whose input is looked at.

    Args:
        node: A Conv, MatMul or Gemm of the float model.
        weight_shape: Of its weight as stored.
    """

    node: ir.Node
    weight_shape: tuple[int, ...]

    @property
    def groups(self) -> int:
        """Matrices that its weight consists of."""
        return self.node.attributes.get_int("group", 1) if self.node.op_type == "Conv" else 1

    @property
    def rows(self) -> int:
        """K, the length of a row of its input."""
        if self.node.op_type == "Conv":
            return int(np.prod(self.weight_shape[1:]))
        transposed = self.node.op_type == "Gemm" and bool(self.node.attributes.get_int("transB", 0))
        return self.weight_shape[-1 if transposed else -2]


@dataclass
class Gram:
    """Second moments of the input of a layer.

    Args:
        g: ``(groups, K, K)``, float32: ``x^T x`` of the rows that the layer will see.
        mean: ``(groups, K)``, float64: their mean.
        rows: How many there were.
        c: ``(groups, K, K)``: ``x_float^T x``; None if the layer sees the float model's rows.
        held: ``(groups, K, K)``: ``x^T x`` of samples that are in none of the others, to judge by; None if there are
            none.
    """

    g: Array
    mean: Array
    rows: int = 0
    c: Array | None = None
    held: Array | None = None

    def add(self, rows: Array, floats: Array | None = None) -> None:
        """Take in rows ``(groups, P, K)`` and, at the same positions, those of the float model."""
        count = rows.shape[1]
        self.g += _squares(rows)
        self.mean += (rows.sum(axis=1, dtype=np.float64) - count * self.mean) / max(1, self.rows + count)
        self.rows += count
        if floats is not None and self.c is not None:
            self.c += np.matmul(floats.transpose(0, 2, 1), rows)

    def hold(self, rows: Array) -> None:
        """Take in rows ``(groups, P, K)`` to judge by."""
        self.held = _squares(rows) if self.held is None else self.held + _squares(rows)


def collect_grams(
    model: ir.Model,
    layers: Sequence[Layer],
    samples: Callable[[], Iterable[Feeds]],
    *,
    quantized: ir.Model | None = None,
    positions: int = 256,
    hold_out: int | None = None,
    memory: int = MEMORY,
    seed: int = 0,
) -> Iterator[tuple[Layer, Gram]]:
    """The Gram matrix of each layer, layers that fit into ``memory`` together at a time.

    Args:
        model: The float model.
        layers: Layers of it, of its main graph.
        samples: Gives the samples from the start each time.
        quantized: If given, rows are those of the layer of the same name there, and ``c`` is filled.
        positions: Rows of a sample and layer; drawn at random if there are more.
        hold_out: Every so many-th sample goes into ``held`` instead.
        memory: Bytes of Gram matrices that are held at once; a single layer may take more.
        seed: Of the choice of positions.

    Raises:
        DataError: There are no samples.
    """
    twins = {} if quantized is None else {n.name: n for n in quantized.graph}
    for group in _groups(
        layers, memory, 1 + (quantized is not None) + (hold_out is not None), LAYERS if twins else len(layers)
    ):
        grams = [_empty(layer, quantized is not None) for layer in group]
        for index, number, floats, rows in _pairs(model, quantized, group, twins, samples):
            layer = group[number]
            left, right = (
                None if a is None else layer_rows(
                    layer.node, a, layer.weight_shape, positions, np.random.default_rng((seed, index, number))
                )
                for a in (rows, floats)
            )  # fmt: skip
            assert left is not None
            if hold_out is not None and index % hold_out == hold_out - 1:
                grams[number].hold(left)
            else:
                grams[number].add(left, right)
        if not all(gram.rows for gram in grams):
            raise DataError("the samples give no rows for a layer", expected="at least one sample")
        yield from zip(group, grams, strict=True)


def _pairs(
    model: ir.Model,
    quantized: ir.Model | None,
    group: Sequence[Layer],
    twins: dict[str | None, ir.Node],
    samples: Callable[[], Iterable[Feeds]],
) -> Iterator[tuple[int, int, Array | None, Array]]:
    """(Sample, layer, its input in the float model if another is asked for, its input).

    Two models run side by side, sample by sample, with the inputs of the whole group of layers held.
    """
    if quantized is None:
        readers: dict[str, list[int]] = defaultdict(list)
        for number, layer in enumerate(group):
            readers[_input(layer.node)].append(number)
        for index, values in observe(model, readers, samples):
            for name, array in values.items():
                yield from ((index, number, None, _float32(array)) for number in readers[name])
        return
    names = {number: (_input(layer.node), _input(twins[layer.node.name])) for number, layer in enumerate(group)}
    floats = observe(model, [a for a, _ in names.values()], samples, memory=UNLIMITED)
    others = observe(quantized, [b for _, b in names.values()], samples, memory=UNLIMITED)
    for (index, values), (_, found) in zip(floats, others, strict=True):
        for number, (name, twin) in names.items():
            yield index, number, _float32(values[name]), _float32(found[twin])


def _squares(rows: Array) -> Array:
    """``x^T x`` of each group; one matrix on its own is multiplied in half the time."""
    found: Array = (rows[0].T @ rows[0])[None] if len(rows) == 1 else np.matmul(rows.transpose(0, 2, 1), rows)
    return found


def _input(node: ir.Node) -> str:
    value = node.inputs[0]
    assert value is not None
    return str(value.name)


def _float32(array: Array) -> Array:
    return array.astype(np.float32, copy=False)


def _empty(layer: Layer, both: bool) -> Gram:
    shape = (layer.groups, layer.rows, layer.rows)
    return Gram(np.zeros(shape, np.float32), np.zeros(shape[:2]), c=np.zeros(shape, np.float32) if both else None)


def _groups(layers: Sequence[Layer], memory: int, matrices: int, most: int) -> Iterator[list[Layer]]:
    """At most ``most`` layers at a time, and as many as fit with ``matrices`` each."""
    group: list[Layer] = []
    held = 0
    for layer in layers:
        size = 4 * matrices * layer.groups * layer.rows**2
        if group and (held + size > memory or len(group) == most):
            yield group
            group, held = [], 0
        group.append(layer)
        held += size
    if group:
        yield group
