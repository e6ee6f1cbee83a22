"""The roofline of the machine at hand: the least time that a node can take, by what it computes and moves.

A node that does M MACs and moves B bytes takes at least the larger of M over the peak rate and B over the bandwidth.
Both are measured through the runtime, by nodes that do little else: a large MatMul and a dense convolution, and Adds of
tensors that fit into the second-level cache, into the last-level cache, and into neither. The bandwidth that counts is
that of the smallest such size that holds all that the node moves.

*References.* Williams, Waterman and Patterson, Roofline, CACM 52(4), 2009. Ilic, Pratas and Sousa, Cache-aware Roofline
Model, IEEE Computer Architecture Letters 13(1), 2014: a bandwidth for each level of the caches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.analysis.subject import name_nodes
from tamis.compiler.machine_data import Machine
from tamis.compiler.rewriting.constants import constant_value
from tamis.compiler.target import Runtime
from tamis.compiler.tuning_database import TuningDatabase, fingerprint_digest

KIND = "roofline"
VERSION = "1"
"""Of the probe; a change of what is measured needs another one."""
SECONDS = 0.9
ROUNDS = 3
"""Of which each node's fastest counts: other work on the machine only ever slows down."""
MIB = 1 << 20
SIDE = 768
"""Of the matrices that are multiplied."""
CHANNELS, SIZE = 128, 56
"""Of the convolution."""
ADDS = 3
"""Adds in a row of one size; the fastest counts, since the first reads what is not in the cache."""


@dataclass(frozen=True)
class Roofline:
    """Measured ceilings.

    Args:
        peak: MACs a second of float32.
        peak_int8: MACs a second of 8-bit integers.
        bandwidths: (bytes that a node moves, bytes a second), ascending sizes, falling bandwidths.
    """

    peak: float
    peak_int8: float
    bandwidths: tuple[tuple[int, float], ...]

    def bandwidth(self, moved: int) -> float:
        """Bytes a second for a node that moves so many bytes."""
        return next((rate for size, rate in self.bandwidths if moved <= size), self.bandwidths[-1][1])

    def compute_ns(self, macs: int, *, int8: bool = False) -> float:
        """Nanoseconds for the MACs alone."""
        return macs / (self.peak_int8 if int8 else self.peak) * 1e9

    def memory_ns(self, moved: int) -> float:
        """Nanoseconds for the bytes alone."""
        return moved / self.bandwidth(moved) * 1e9

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {"peak": self.peak, "peak_int8": self.peak_int8, "bandwidths": [list(pair) for pair in self.bandwidths]}


def roofline_of(runtime: Runtime[Any], machine: Machine, database: TuningDatabase, *, seen: float = 0.0) -> Roofline:
    """The ceilings for this runtime on this machine: from the tuning database, else measured in a second and stored.

    Args:
        runtime: With its options; the number of threads is part of its fingerprint.
        machine: The machine at hand.
        database: Where the ceilings are kept.
        seen: MACs a second of float32 that a kernel has reached. A stored peak below that was measured while the
            machine was busy; then all is measured again, and the higher figures stay.
    """
    fingerprint = runtime.fingerprint(machine)
    workload = fingerprint_digest({"probe": VERSION})
    stored = database.get(KIND, workload, fingerprint)
    known = None if stored is None else _roofline(stored.value)
    if known is not None and known.peak >= seen:
        return known
    sizes = _sizes(machine)
    model, feeds = _probe(sizes)
    spent: dict[str, float] = {}
    for _ in range(ROUNDS):
        for time in runtime.profile(model, feeds, machine, SECONDS / ROUNDS, lambda fraction, note: None):
            spent |= {name: min(time.nanoseconds, spent.get(name, math.inf)) for name in time.covers}
    found = _ceilings(spent, sizes)
    if known is not None:
        found = _higher(replace(found, peak=max(found.peak, seen)), known)
    database.put(KIND, workload, fingerprint, found.to_dict(), {"nanoseconds": spent})
    return found


def _roofline(data: Mapping[str, Any]) -> Roofline:
    pairs = tuple((int(size), float(rate)) for size, rate in data["bandwidths"])
    return Roofline(float(data["peak"]), float(data["peak_int8"]), pairs)


def _higher(a: Roofline, b: Roofline) -> Roofline:
    pairs = tuple((size, max(rate, b.bandwidth(size))) for size, rate in a.bandwidths)
    return Roofline(max(a.peak, b.peak), max(a.peak_int8, b.peak_int8), pairs)


def _sizes(machine: Machine) -> list[int]:
    """Bytes that the Adds move: within the second-level cache, within the last level, beyond it."""
    caches = machine.caches
    wanted = (max(caches.l2 // 2, MIB // 4), max(caches.l3 // 4, 2 * MIB), min(max(96 * MIB, 3 * caches.l3), 384 * MIB))
    return sorted({size // 12 * 12 for size in wanted})


def _probe(sizes: list[int]) -> tuple[ir.Model, dict[str, np.ndarray[Any, Any]]]:
    """A model of which each named node meets one ceiling, and its inputs. Slices keep its outputs small."""
    random = np.random.default_rng(0)
    weights: dict[str, np.ndarray[Any, Any]] = {
        "b": random.standard_normal((SIDE, SIDE)).astype(np.float32),
        "w": random.integers(-60, 60, (SIDE, SIDE)).astype(np.int8),
        "k": random.standard_normal((CHANNELS, CHANNELS, 3, 3)).astype(np.float32),
        "zero": np.array([0]),
        "one": np.array([1]),
    }
    feeds: dict[str, np.ndarray[Any, Any]] = {
        "a": random.standard_normal((SIDE, SIDE)).astype(np.float32),
        "u": random.integers(0, 127, (SIDE, SIDE)).astype(np.uint8),
        "image": random.standard_normal((1, CHANNELS, SIZE, SIZE)).astype(np.float32),
        **{f"{side}{i}": np.ones(size // 12, np.float32) for i, size in enumerate(sizes) for side in "st"},
    }
    values = {name: constant_value(name, ir.tensor(array, name=name)) for name, array in weights.items()}
    inputs = {name: constant_value(name, ir.tensor(array)) for name, array in feeds.items()}
    for value in inputs.values():
        value.const_value = None
    values |= inputs
    body = [
        ir.node("MatMul", [values["a"], values["b"]], name="matmul"),
        ir.node("MatMulInteger", [values["u"], values["w"]], name="int8"),
        ir.node("Conv", [values["image"], values["k"]], {"pads": [1, 1, 1, 1]}, name="conv"),
    ]
    outputs = [node.outputs[0] for node in body]
    for i in range(len(sizes)):
        last = values[f"s{i}"]
        for k in range(ADDS):
            body.append(ir.node("Add", [last, values[f"t{i}"]], name=f"add{i}_{k}"))
            last = body[-1].outputs[0]
        body.append(ir.node("Slice", [last, values["zero"], values["one"]]))
        outputs.append(body[-1].outputs[0])
    for output in outputs:
        output.type = ir.TensorType(ir.DataType.INT32 if output.producer() is body[1] else ir.DataType.FLOAT)
    graph = ir.Graph(
        list(inputs.values()), outputs, nodes=body, initializers=[values[n] for n in weights], opset_imports={"": 17}
    )
    graph.name = "probe"
    model = ir.Model(graph, ir_version=8)
    name_nodes(model)
    return model, feeds


def _ceilings(nanoseconds: Mapping[str, float], sizes: list[int]) -> Roofline:
    spent = {name: time / 1e9 for name, time in nanoseconds.items()}
    product, conv = SIDE**3, 9 * CHANNELS**2 * SIZE**2
    rates = [size / min(spent[f"add{i}_{k}"] for k in range(ADDS)) for i, size in enumerate(sizes)]
    falling = np.maximum.accumulate(rates[::-1])[::-1].tolist()  # what a large tensor reaches, a small one does too
    return Roofline(
        max(product / spent["matmul"], conv / spent["conv"]),
        product / spent["int8"],
        tuple(zip(sizes, falling, strict=True)),
    )
