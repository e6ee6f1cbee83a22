"""Statistics of the tensors of a model over the calibration samples, kept on disk by model, data and names.

A compile asks for the same statistics several times (once a target, and again when it is repeated), and a run over a
few hundred samples takes longer than everything else in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.data.array_file import npz_headers, read_npz
from tamis.compiler.digest import model_digest, samples_digest
from tamis.compiler.errors import DataError, OutputError, PreconditionError, TuningError, WriteError
from tamis.compiler.graph_pass import PassContext
from tamis.compiler.staging import staged_file
from tamis.compiler.tuning_database import STATISTICS, default_path
from tamis.passes.quantization.calibration.tensor_statistics import BINS, TensorStatistics, gather

__all__ = ["TensorStatistics", "collect"]

Array = np.ndarray[Any, np.dtype[Any]]
VERSION = 1
"""Changes whenever other numbers are stored, or the same ones in another form."""
KEPT_FILES = 50
"""The files that were not used for longest are removed beyond that."""
NUMBERS = ("low", "high", "elements", "zeros", "non_finite")


def collect(
    model: ir.Model,
    names: Iterable[str],
    context: PassContext,
    *,
    channel_axes: Mapping[str, int] | None = None,
    quiet: bool = False,
) -> dict[str, TensorStatistics]:
    """Statistics of the values called ``names`` over the calibration samples.

    Args:
        model: Left as it is; computed node by node as it is written.
        names: Graph inputs, and outputs of nodes of the main graph.
        context: With samples.
        channel_axes: Name -> axis, for tensors whose ranges are wanted by channel as well.
        quiet: Show no progress; otherwise as the compile does.

    Raises:
        PreconditionError: There are no calibration samples, or a value cannot be observed.
        TuningError: The cache folder cannot be written.
        LoweringError, RuntimeFailureError: The model cannot be run.
    """
    if context.samples is None:
        raise PreconditionError(
            "there are no calibration samples",
            where="calibration",
            expected="samples that are like those of the application",
            fix="add data: {calibration: ...} to the recipe",
        )
    wanted = list(dict.fromkeys(names))
    axes = {name: axis for name, axis in (channel_axes or {}).items() if name in set(wanted)}
    quiet = quiet or (context.judge is not None and context.judge.quiet)
    data, count = samples_digest(context.samples())
    key = json.dumps([VERSION, model_digest(model), data, wanted, sorted(axes.items())])
    path = default_path().with_name(STATISTICS) / f"{hashlib.sha256(key.encode()).hexdigest()}.npz"
    found = _read(path, wanted)
    if found is None:
        found = gather(model, wanted, context.samples, count=count, channel_axes=axes, quiet=quiet)
        _write(path, found)
    return found


def _write(path: Path, found: Mapping[str, TensorStatistics]) -> None:
    arrays: dict[str, Array] = {
        "numbers": np.array([[getattr(s, n) for n in NUMBERS] for s in found.values()], np.float64).reshape(-1, 5),
        "histograms": np.array([s.histogram for s in found.values()], np.int64).reshape(-1, BINS),
    }
    for index, each in enumerate(found.values()):
        if each.axis is not None and each.channel_low is not None and each.channel_high is not None:
            arrays[f"axis {index}"] = np.array(each.axis)
            arrays[f"channels {index}"] = np.stack([each.channel_low, each.channel_high])
    try:
        with staged_file(path) as staged:
            np.savez_compressed(staged, **arrays)  # type: ignore[arg-type]
        _forget(path.parent)
    except (OSError, OutputError, WriteError) as error:
        raise TuningError(
            "the statistics of the calibration samples cannot be stored",
            where=str(path.parent),
            found=str(error),
            fix="set TAMIS_CACHE_DIR to a folder that can be written",
        ) from error


def _forget(folder: Path) -> None:
    """Remove files beyond ``KEPT_FILES``; another process may be doing the same."""
    times = {}
    for path in folder.glob("*.npz"):
        try:
            times[path] = path.stat().st_mtime
        except FileNotFoundError:
            continue
    for path in sorted(times, key=times.__getitem__, reverse=True)[KEPT_FILES:]:
        path.unlink(missing_ok=True)


def _read(path: Path, wanted: Sequence[str]) -> dict[str, TensorStatistics] | None:
    """What is stored; None if nothing is, or if the file is damaged."""
    try:
        arrays = read_npz(path, npz_headers(path))
        numbers, histograms = arrays["numbers"], arrays["histograms"]
        if numbers.shape != (len(wanted), len(NUMBERS)) or histograms.shape != (len(wanted), BINS):
            return None
        found = {name: _restore(arrays, index) for index, name in enumerate(wanted)}
        path.touch()
    except (DataError, KeyError, ValueError, OSError):
        return None
    return found


def _restore(arrays: Mapping[str, Array], index: int) -> TensorStatistics:
    low, high, *counts = arrays["numbers"][index].tolist()
    axis = arrays.get(f"axis {index}")
    below, above = (None, None) if axis is None else arrays[f"channels {index}"]
    elements, zeros, non_finite = (int(count) for count in counts)
    histogram = arrays["histograms"][index]
    return TensorStatistics(
        low, high, elements, zeros, non_finite, histogram, None if axis is None else int(axis), below, above
    )
