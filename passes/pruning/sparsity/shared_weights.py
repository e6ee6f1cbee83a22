"""Weights to make sparse, each with all the layers that read it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Skip
from tamis.compiler.rewriting.constants import constant_tensor
from tamis.passes.layer_inputs.gram import collect_grams
from tamis.passes.layer_inputs.layer_weight import OPERATORS, LayerWeight, read_weight

Array = np.ndarray[Any, np.dtype[Any]]
MAX_ROWS = 8192
"""Layers with longer rows are judged by their weights alone: second moments would not fit."""


@dataclass(frozen=True)
class SharedWeight:
    """One initializer with its readers, which read it as the same matrices.

    Args:
        readers: In the order of the graph.
    """

    readers: tuple[LayerWeight, ...]

    @property
    def first(self) -> LayerWeight:
        """Of the first reader."""
        return self.readers[0]

    @property
    def inputs(self) -> int:
        """Inputs in a row, along which blocks lie: channels of a group, or rows of the matrix."""
        return self.first.shape[1] if self.first.convolves else self.first.layer.rows

    @property
    def observable(self) -> bool:
        """Whether second moments of the inputs can be had."""
        fed = all(constant_tensor(reader.node.inputs[0]) is None for reader in self.readers)
        return fed and self.first.layer.rows <= MAX_ROWS


def find_weights(
    model: ir.Model, min_elements: int, leave: Callable[[str], str | None]
) -> tuple[list[SharedWeight], list[Skip]]:
    """Weights of the main graph in the order of their first readers, and layers left alone.

    Args:
        model: To look at.
        min_elements: Of a weight.
        leave: Why a layer of that name is to be left alone; None if it is not.
    """
    found: dict[ir.Value, list[LayerWeight]] = {}
    skips: list[Skip] = []
    for node in model.graph:
        if node.domain != "" or node.op_type not in OPERATORS or node.op_identifier() in model.functions:
            continue
        weight = _read(node, min_elements, leave)
        if isinstance(weight, str):
            skips.append(Skip(weight, _name(node)))
        else:
            found.setdefault(weight.value, []).append(weight)
    shared: list[SharedWeight] = []
    for value, readers in found.items():
        alike = len({reader.form for reader in readers}) == 1
        if alike and len(value.uses()) == len(readers) and not value.is_graph_output():
            shared.append(SharedWeight(tuple(readers)))
        else:
            skips += [Skip("something else reads the weight", _name(reader.node)) for reader in readers]
    return shared, skips


def with_grams(
    model: ir.Model, weights: Sequence[SharedWeight], samples: Callable[[], Iterator[Any]], seed: int
) -> Iterator[tuple[SharedWeight, Array]]:
    """Second moments ``(groups, K, K)`` of what the readers of a weight read, all of them together."""
    owner = {reader.node: weight for weight in weights for reader in weight.readers}
    layers = [reader.layer for weight in weights for reader in weight.readers]
    grams: list[Array] = []
    for layer, gram in collect_grams(model, layers, samples, seed=seed):
        grams.append(gram.g)
        weight = owner[layer.node]
        if len(grams) == len(weight.readers):
            yield weight, np.asarray(sum(grams[1:], start=grams[0]))
            grams.clear()


def _read(node: ir.Node, min_elements: int, leave: Callable[[str], str | None]) -> LayerWeight | str:
    reason = leave(node.name or "")
    weight = read_weight(node) if reason is None else reason
    if isinstance(weight, str):
        return weight
    if math.prod(weight.shape) < min_elements:
        return "weight has fewer elements than min_elements"
    if weight.convolves and weight.shape[1] == 1:
        return "depthwise convolution"
    return weight


def _name(node: ir.Node) -> str:
    return node.name or str(node.outputs[0].name)
