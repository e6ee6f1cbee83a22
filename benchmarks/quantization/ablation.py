"""Which way to round weights pays: noise of the outputs, task metric and saturated pairs, model by model.

``python -m benchmarks.quantization.ablation [--models ...] [--samples 64] [--test 100] [--json FILE]``

Ranges of activations are the same in all rows, and chosen, as are weights, by calibration samples. SQNR and drop are
those of the test half of the labelled data, which nothing was chosen by (see ``split.py``). Both are of exact sums: for
pair-safe weights, and for U8U8 (the figures of *8 bits*), that is what every machine gives. Saturated pairs are those
that a CPU would clip that adds pairs in 16 bits.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from benchmarks.side_by_side.case import Case, Feeds
from benchmarks.side_by_side.split import split
from tamis.compiler.cli.output import table
from tamis.compiler.compare_outputs import EXACT_DB
from tamis.compiler.graph_pass import PassContext
from tamis.compiler.machine import find_machine
from tamis.compiler.metrics import get_metric
from tamis.compiler.model_file import load_model
from tamis.compiler.registry import GROUPS, REFERENCE_RUNTIME, pass_class, runtime_class
from tamis.passes.quantization.placement.calibrated_units import calibrate
from tamis.passes.quantization.placement.integer_forms import to_integer_forms
from tamis.passes.quantization.placement.static_quantizer import StaticQuantizer, key_of
from tamis.passes.quantization.placement.unit_weights import (
    QuantizedWeight,
    from_matrix,
    nearest,
    needs_safe_pairs,
    optimal,
    to_matrix,
    weight_array,
)
from tamis.passes.quantization.placement.units import Unit, channel_axis, find_units
from tamis.passes.quantization.rounding.bias_correction import correct_biases
from tamis.passes.quantization.rounding.int8_weights import quantize_int8
from tamis.passes.quantization.rounding.saturation import saturated_pairs
from tamis.passes.quantization.rounding.weight_rounding import round_nearest

Array = np.ndarray[Any, np.dtype[Any]]
Weights = dict[str, QuantizedWeight]
ZOO = Path.home() / ".cache" / "tamis" / "zoo"
MODELS = ("mnist-cnn", "efficientnet-lite0", "ppocr-rec")
METRICS = {"mnist-cnn": "accuracy", "efficientnet-lite0": "accuracy", "ppocr-rec": "char-accuracy"}
MACHINE = "x86-64-avx2"
SATURATION_SAMPLES = 2


class Study:
    """A model prepared for quantization.

    Args:
        case: The model and its data.
        samples: For calibration.
        equalized: Whether neighbouring layers share their ranges.
    """

    def __init__(self, case: Case, samples: int, equalized: bool) -> None:
        self.calibration = case.feeds("calibration")[:samples]
        self.floats = load_model(case.model)
        for name in ["canonicalize", *GROUPS["fuse"], *(["equalize-layers"] if equalized else [])]:
            pass_class(name)()(self.floats)
        to_integer_forms(self.floats)
        for number, node in enumerate(self.floats.graph):
            node.name = node.name or f"node{number}"
        self.kernels = runtime_class(REFERENCE_RUNTIME)().int8_kernels(find_machine(MACHINE))
        assert self.kernels is not None
        context = PassContext(samples=lambda: iter(self.calibration))
        found = calibrate(self.floats, self.kernels, find_units(self.floats, self.kernels), context, "mse")
        self.units, self.ranges, self.barred = found.units, found.ranges, found.barred

    def each(self, way: Callable[[Unit], QuantizedWeight]) -> Weights:
        """Every weight rounded on its own."""
        return {key_of(unit): way(unit) for unit in self.units}

    @cached_property
    def optimal_safe(self) -> Weights:
        """Rounded together, pair-safe."""
        return self._optimal(True)

    @cached_property
    def optimal_full(self) -> Weights:
        """Rounded together over the full range."""
        return self._optimal(False)

    def _optimal(self, safe: bool) -> Weights:
        found = optimal(self.floats, self.units, lambda: self.calibration, pair_safe=safe, seed=0, quiet=True)
        return {key_of(unit): weight for unit, weight in found.items()}

    def quantized(self, weights: Weights, *, biases: bool) -> ir.Model:
        """The model with these weights."""
        assert self.kernels is not None
        model = StaticQuantizer(self.kernels, self.ranges, weights, self.barred).copy(self.floats, list(weights))
        if biases:
            correct_biases(model, self.floats, lambda: self.calibration)
        return model


def full(unit: Unit) -> QuantizedWeight:
    """Full range, nearest."""
    return nearest(unit, per_channel=True, pair_safe=False)


def grown(unit: Unit) -> QuantizedWeight:
    """Scales grown until no pair can saturate, nearest."""
    return nearest(unit, per_channel=True, pair_safe=True)


def seven_bits(unit: Unit) -> QuantizedWeight:
    """Half the range: no two products can saturate."""
    array, axis = weight_array(unit), channel_axis(unit.node)
    matrix = to_matrix(array, axis)
    scale = (np.abs(matrix).max(axis=0) / 64).astype(np.float32)
    scale = np.where(scale > 0, scale, np.float32(1))
    steps = round_nearest(matrix, scale, pair_safe=False, limit=64)
    return QuantizedWeight(from_matrix(steps, array.shape, axis), scale)


def permuted(unit: Unit) -> QuantizedWeight:
    """As if rows could be put into the order in which large ones stand beside small ones; pairs are then others."""
    array, axis = weight_array(unit), channel_axis(unit.node)
    matrix = to_matrix(array, axis)
    strength = np.abs(matrix).max(axis=1)
    ascending, half = np.argsort(strength), len(matrix) // 2
    order = np.empty(half * 2, int)
    order[0::2], order[1::2] = ascending[::-1][:half], ascending[:half]
    order = np.concatenate([order, np.setdiff1d(ascending, order)])
    found = quantize_int8(matrix[order], per_channel=True, pair_safe=needs_safe_pairs(unit))
    return QuantizedWeight(from_matrix(found.quantized[np.argsort(order)], array.shape, axis), found.scale)


WAYS: dict[str, tuple[Callable[[Study], Weights], bool, bool]] = {
    # name: weights, biases corrected, layers equalized
    "8 bits (U8U8; unsafe as U8S8)": (lambda study: study.each(full), False, False),
    "8 bits, biases": (lambda study: study.each(full), True, False),
    "8 bits, optimal": (lambda study: study.optimal_full, False, False),
    "8 bits, optimal, biases": (lambda study: study.optimal_full, True, False),
    "7 bits": (lambda study: study.each(seven_bits), False, False),
    "pair-safe, grown": (lambda study: study.each(grown), False, False),
    "pair-safe, grown, permuted": (lambda study: study.each(permuted), False, False),
    "pair-safe, grown, equalized": (lambda study: study.each(grown), False, True),
    "pair-safe, grown, biases": (lambda study: study.each(grown), True, False),
    "pair-safe, optimal": (lambda study: study.optimal_safe, False, False),
    "pair-safe, optimal, biases": (lambda study: study.optimal_safe, True, False),
    "pair-safe, optimal, biases, equalized": (lambda study: study.optimal_safe, True, True),
}


class Scores:
    """Judges models by the test half.

    Args:
        case: The float model and its data.
        count: At most so many samples.
    """

    def __init__(self, case: Case, count: int) -> None:
        self.case = case
        self.feeds = case.feeds("test")[:count]
        self.metric, self.wanted = self._run(load_model(case.model))

    def _run(self, model: ir.Model) -> tuple[float, list[Array]]:
        runner = runtime_class(REFERENCE_RUNTIME)().load_model(model)
        metric, outputs = get_metric(self.case.metric), []
        for feeds, labels in zip(self.feeds, self.case.labels("test"), strict=False):
            found = runner(feeds)
            metric.update(found, labels)
            outputs.append(next(iter(found.values())).astype(np.float64))
        return float(metric.result()), outputs

    def row(self, model: ir.Model) -> dict[str, float]:
        """Signal-to-noise ratio of the first output in dB, and loss of the metric in points."""
        score, outputs = self._run(model)
        noise = sum(float(np.square(w - o).sum()) for w, o in zip(self.wanted, outputs, strict=True))
        signal = sum(float(np.square(w).sum()) for w in self.wanted)
        sqnr = 10 * float(np.log10(signal / noise)) if noise else EXACT_DB
        return {"SQNR, dB": round(sqnr, 2), "drop, points": round(100 * (self.metric - score), 2)}


def saturation(model: ir.Model, samples: list[Feeds]) -> dict[str, float]:
    """Layers with pairs that could clip, and the share of those that do."""
    counts = saturated_pairs(model, lambda: samples[:SATURATION_SAMPLES]).values()
    clipped, pairs = sum(c.saturated for c in counts), sum(c.pairs for c in counts)
    unsafe = sum(c.unsafe_columns > 0 for c in counts)
    return {"unsafe layers": unsafe, "saturated pairs, ppm": round(1e6 * clipped / max(1, pairs), 2)}


def measure(name: str, samples: int, count: int) -> Iterator[dict[str, Any]]:
    """A row for each way."""
    with tempfile.TemporaryDirectory() as scratch:
        split(name, ZOO / name, Path(scratch))
        case = Case(name, ZOO / name, Path(scratch), METRICS[name], max_drop=0.5, threads=1)
        scores = Scores(case, count)
        studies = {equalized: Study(case, samples, equalized) for equalized in (False, True)}
        for label, (weights, biases, equalized) in WAYS.items():
            study = studies[equalized]
            model = study.quantized(weights(study), biases=biases)
            row: dict[str, Any] = {"model": name, "weights": label, **scores.row(model)}
            found = saturation(model, study.calibration)
            yield row | (dict.fromkeys(found) if "permuted" in label else found)  # the graph itself is not permuted


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=METRICS, default=MODELS)
    parser.add_argument("--samples", type=int, default=64, help="of the calibration data")
    parser.add_argument("--test", type=int, default=100, help="samples of the test half")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = []
    for name in arguments.models:
        for row in measure(name, arguments.samples, arguments.test):
            print(json.dumps(row), file=sys.stderr, flush=True)
            found.append(row)
    table(tuple(found[0]), [tuple(row.values()) for row in found])
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
