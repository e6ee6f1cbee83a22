"""Which way to round weights pays: SQNR of the outputs and saturated pairs, model by model.

``python -m benchmarks.quantization.ablation [--models ...] [--samples 16] [--emulate 2] [--json FILE]``

Activations are the same in all rows. SQNR is that of exact sums: for pair-safe weights and for U8U8 (the numbers of
*8 bits*) that is what every machine gives. With ``--emulate N`` the rows are run once more on N samples by QEMU as a
CPU that has AVX2 and no VNNI, where unsafe weights saturate; that is slow.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.analysis.integer_products import conv_matrices, conv_weight
from tamis.compiler.cli.output import table
from tamis.compiler.compare_outputs import EXACT_DB
from tamis.compiler.graph_pass import PassContext
from tamis.compiler.machine import find_machine
from tamis.compiler.model_file import load_model, save_model
from tamis.compiler.registry import GROUPS, REFERENCE_RUNTIME, pass_class, runtime_class
from tamis.passes.quantization.calibration.activation_ranges import activation_parameters
from tamis.passes.quantization.calibration.affine import Affine
from tamis.passes.quantization.calibration.statistics import collect
from tamis.passes.quantization.placement.integer_forms import to_integer_forms
from tamis.passes.quantization.placement.islands import Islands, build_islands
from tamis.passes.quantization.placement.place_qdq import insert_qdq
from tamis.passes.quantization.placement.raise_opset import raise_opset
from tamis.passes.quantization.placement.unit_weights import QuantizedWeight, bias_floor, weight_array
from tamis.passes.quantization.placement.units import Unit, channel_axis, find_units
from tamis.passes.quantization.rounding.bias_correction import BIAS_LIMIT, correct_biases
from tamis.passes.quantization.rounding.gram import Layer, collect_grams
from tamis.passes.quantization.rounding.int8_weights import quantize_int8
from tamis.passes.quantization.rounding.saturation import saturated_pairs
from tamis.passes.quantization.rounding.weight_rounding import best_scales, round_nearest, round_weights

Array = np.ndarray[Any, np.dtype[Any]]
Way = Callable[[Array, Array | None, bool], tuple[Array, Array]]
"""(matrix (K, N), Gram matrices (groups, K, K), whether pairs of it are added in 16 bits) -> integers, scales (N,)."""
ZOO = Path.home() / ".cache" / "tamis" / "zoo"
MODELS = ("mnist-cnn", "efficientnet-lite0", "ppocr-rec")
MACHINE = "x86-64-avx2"
QEMU = ("qemu-x86_64-static", "-cpu", "Haswell-noTSX")


def full(matrix: Array, grams: Array | None, saturates: bool) -> tuple[Array, Array]:
    """Full range, nearest."""
    found = quantize_int8(matrix, per_channel=True, pair_safe=False)
    return found.quantized, found.scale


def seven_bits(matrix: Array, grams: Array | None, saturates: bool) -> tuple[Array, Array]:
    """Half the range: no two products can saturate."""
    scale = (np.abs(matrix).max(axis=0) / 64).astype(np.float32)
    scale = np.where(scale > 0, scale, np.float32(1))
    return round_nearest(matrix, scale, pair_safe=False, limit=64), scale


def grown(matrix: Array, grams: Array | None, saturates: bool) -> tuple[Array, Array]:
    """Scales grown until no pair can saturate."""
    found = quantize_int8(matrix, per_channel=True, pair_safe=saturates)
    return found.quantized, found.scale


def permuted(matrix: Array, grams: Array | None, saturates: bool) -> tuple[Array, Array]:
    """As if rows could be put into the order in which large ones stand beside small ones."""
    strength = np.abs(matrix).max(axis=1)
    by_strength = np.argsort(strength)
    half = len(matrix) // 2
    order = np.empty(half * 2, int)
    order[0::2], order[1::2] = by_strength[::-1][:half], by_strength[:half]
    order = np.concatenate([order, np.setdiff1d(by_strength, order)])
    found = quantize_int8(matrix[order], per_channel=True, pair_safe=saturates)
    return found.quantized[np.argsort(order)], found.scale


def searched(matrix: Array, grams: Array | None, saturates: bool) -> tuple[Array, Array]:
    """Scales of least output error, nearest, pairs moved where they must."""
    assert grams is not None
    return _by_group(matrix, grams, lambda m, g, s: round_nearest(m, s, pair_safe=saturates), saturates)


def optimal(matrix: Array, grams: Array | None, saturates: bool) -> tuple[Array, Array]:
    """The same scales, and rounding of least output error."""
    assert grams is not None
    return _by_group(matrix, grams, lambda m, g, s: round_weights(m, s, g, pair_safe=saturates), saturates)


def optimal_unsafe(matrix: Array, grams: Array | None, saturates: bool) -> tuple[Array, Array]:
    """Rounding of least output error without regard to pairs."""
    return optimal(matrix, grams, False)


def _by_group(
    matrix: Array, grams: Array, round_: Callable[[Array, Array, Array], Array], saturates: bool
) -> tuple[Array, Array]:
    """Columns of one group of a convolution share its Gram matrix."""
    parts, scales = [], []
    for part, gram in zip(np.split(matrix, len(grams), axis=1), grams, strict=True):
        scale = best_scales(part, gram, pair_safe=saturates)
        parts.append(round_(part, gram, scale))
        scales.append(scale)
    return np.concatenate(parts, axis=1), np.concatenate(scales)


WAYS: dict[str, tuple[Way, bool, bool]] = {
    # name: way, biases corrected, layers equalized
    "8 bits (U8U8; unsafe as U8S8)": (full, False, False),
    "8 bits, optimal (unsafe)": (optimal_unsafe, False, False),
    "7 bits": (seven_bits, False, False),
    "pair-safe, grown": (grown, False, False),
    "pair-safe, grown, permuted": (permuted, False, False),
    "pair-safe, grown, equalized": (grown, False, True),
    "pair-safe, scales searched": (searched, False, False),
    "pair-safe, optimal": (optimal, False, False),
    "pair-safe, optimal, biases": (optimal, True, False),
}


class Ablation:
    """One model, quantized in several ways.

    Args:
        folder: Of the zoo.
        samples: For calibration, and of the evaluation data.
    """

    def __init__(self, folder: Path, samples: int, equalized: bool) -> None:
        self.calibration = list(rows(folder / "calibration.npz", max(64, samples)))
        self.few = self.calibration[:samples]
        self.evaluation = list(rows(folder / "evaluation.npz", samples))
        self.floats = load_model(folder / "model.onnx")
        for name in ["canonicalize", *GROUPS["fuse"], *(["equalize-layers"] if equalized else [])]:
            pass_class(name)()(self.floats)
        to_integer_forms(self.floats)
        raise_opset(self.floats)
        for number, node in enumerate(self.floats.graph):
            node.name = node.name or f"node{number}"
        self.context = PassContext(samples=lambda: iter(self.calibration))
        names = [str(v.name) for v in self.islands(self.floats).quantized]
        found = collect(self.floats, names, self.context, quiet=True)
        self.ranges = {name: (each.low, each.high) for name, each in found.items()}
        self.grams = dict(self._grams())

    def islands(self, model: ir.Model) -> Islands:
        """All that can become integer."""
        return build_islands(model, self.kernels, find_units(model, self.kernels))

    @property
    def kernels(self) -> Any:
        """Of ONNX Runtime on a CPU without VNNI."""
        return runtime_class(REFERENCE_RUNTIME)().int8_kernels(find_machine(MACHINE))

    def _grams(self) -> Iterator[tuple[str, Array]]:
        layers = [Layer(u.node, weight_array(u).shape) for u in self.islands(self.floats).units.values()]
        for layer, gram in collect_grams(self.floats, layers, lambda: self.few):
            yield str(layer.node.name), gram.g

    def quantized(self, way: Way, *, biases: bool) -> ir.Model:
        """The model with weights rounded by ``way``."""
        model = self.floats.clone()
        islands = self.islands(model)
        parameters = activation_parameters(self.kernels, islands, self.ranges)
        weights: dict[Unit, Affine] = {}
        integers: dict[Unit, Array] = {}
        for unit in islands.units.values():
            array = weight_array(unit)
            depthwise = unit.node.op_type == "Conv" and array.shape[1] == 1 and len(self.grams[unit.name]) == len(array)
            steps, scale = way(as_matrix(unit), self.grams[unit.name], not depthwise)
            x = unit.node.inputs[0]
            assert x is not None
            axis = channel_axis(unit.node)
            floor = bias_floor(unit, float(parameters[x].scale), BIAS_LIMIT)
            found = QuantizedWeight(from_matrix(steps, unit), np.asarray(scale, np.float32)).at_least(
                floor, array, axis
            )
            weights[unit], integers[unit] = found.as_type("int8", axis)
        insert_qdq(model, self.kernels, islands, parameters, weights, integers)
        if biases:
            correct_biases(model, self.floats, lambda: self.few)
        return model


def as_matrix(unit: Unit) -> Array:
    """The weight as ``(K, N)``, a column an output channel, K in the order of the kernels' sums."""
    array = weight_array(unit)
    if unit.node.op_type == "Conv":
        return np.hstack(list(conv_matrices(array, unit.node.attributes.get_int("group", 1))))
    return array.T if channel_axis(unit.node) == 0 else array


def from_matrix(matrix: Array, unit: Unit) -> Array:
    """The weight whose ``as_matrix`` is ``matrix``."""
    if unit.node.op_type == "Conv":
        groups = np.split(matrix, unit.node.attributes.get_int("group", 1), axis=1)
        return conv_weight(np.stack(groups), weight_array(unit).shape)
    return np.ascontiguousarray(matrix.T if channel_axis(unit.node) == 0 else matrix)


def rows(path: Path, limit: int) -> Iterator[dict[str, Array]]:
    """Samples of an archive, one row each."""
    with np.load(path) as archive:
        arrays = {name: archive[name][:limit] for name in archive if name != "labels"}
    for i in range(len(next(iter(arrays.values())))):
        yield {name: array[i : i + 1] for name, array in arrays.items()}


def sqnr(floats: ir.Model, outputs: list[Array], samples: list[dict[str, Array]]) -> float:
    """Signal-to-noise ratio of the first output over all samples, dB."""
    runner = runtime_class(REFERENCE_RUNTIME)().load_model(floats)
    wanted = [next(iter(runner(feeds).values())) for feeds in samples]
    noise = sum(float(np.square(w.astype(np.float64) - o).sum()) for w, o in zip(wanted, outputs, strict=False))
    signal = sum(float(np.square(w.astype(np.float64)).sum()) for w, _ in zip(wanted, outputs, strict=False))
    return 10 * float(np.log10(signal / noise)) if noise else EXACT_DB


def run_here(model: ir.Model, samples: list[dict[str, Array]]) -> list[Array]:
    """First outputs on this machine."""
    runner = runtime_class(REFERENCE_RUNTIME)().load_model(model)
    return [next(iter(runner(feeds).values())) for feeds in samples]


CHILD = """
import sys, numpy as np, onnxruntime
data = np.load(sys.argv[2])
settings = onnxruntime.SessionOptions()
settings.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], settings)
count = len(next(iter(data.values())))
found = [session.run(None, {k: data[k][i:i + 1] for k in data})[0] for i in range(count)]
np.save(sys.argv[3], np.concatenate(found))
"""


def run_emulated(model: ir.Model, samples: list[dict[str, Array]]) -> list[Array]:
    """First outputs on an emulated CPU whose products saturate."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_model(model, folder / "model.onnx")
        np.savez(folder / "x.npz", **{n: np.concatenate([s[n] for s in samples]) for n in samples[0]})  # type: ignore[arg-type]
        paths = os.pathsep.join(p for p in sys.path if p.endswith("site-packages"))
        arguments = [str(folder / name) for name in ("model.onnx", "x.npz", "y.npy")]
        command = [*QEMU, str(Path(sys.executable).resolve()), "-c", CHILD, *arguments]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=True, capture_output=True)
        return [row[None] for row in np.load(folder / "y.npy")]


def measure(name: str, samples: int, emulated: int) -> Iterator[dict[str, Any]]:
    """A row for each way."""
    studies = {equalized: Ablation(ZOO / name, samples, equalized) for equalized in (False, True)}
    for label, (way, biases, equalized) in WAYS.items():
        study = studies[equalized]
        model = study.quantized(way, biases=biases)
        counts = saturated_pairs(model, lambda few=study.few[:4]: few).values()  # type: ignore[misc]
        row: dict[str, Any] = {
            "model": name,
            "weights": label,
            "SQNR, dB": round(sqnr(studies[False].floats, run_here(model, study.evaluation), study.evaluation), 2),
            "unsafe layers": sum(c.unsafe_columns > 0 for c in counts),
            "saturated pairs, ppm": round(
                1e6 * sum(c.saturated for c in counts) / max(1, sum(c.pairs for c in counts)), 2
            ),
        }
        if way is permuted:  # the graph itself is not permuted, so that its pairs are others than those rounded
            row["unsafe layers"] = row["saturated pairs, ppm"] = None
        if emulated:
            few = study.evaluation[:emulated]
            row["SQNR here, dB"] = round(sqnr(studies[False].floats, run_here(model, few), few), 2)
            emulation = None if way is permuted else sqnr(studies[False].floats, run_emulated(model, few), few)
            row["SQNR without VNNI, dB"] = None if emulation is None else round(emulation, 2)
        yield row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--emulate", type=int, default=0, metavar="N")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = []
    for name in arguments.models:
        for row in measure(name, arguments.samples, arguments.emulate):
            print(json.dumps(row), file=sys.stderr, flush=True)
            found.append(row)
    table(tuple(found[0]), [tuple(row.values()) for row in found])
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
