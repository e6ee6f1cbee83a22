"""Olive's pass ``OnnxQuantization``, which drives ONNX Runtime's quantizers, with its own defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from olive.data.config import DataComponentConfig, DataConfig  # type: ignore[import-not-found]
from olive.data.registry import Registry  # type: ignore[import-not-found]
from olive.model import ONNXModelHandler  # type: ignore[import-not-found]
from olive.passes.olive_pass import create_pass_from_dict  # type: ignore[import-not-found]
from olive.passes.onnx.quantization import OnnxDynamicQuantization, OnnxQuantization  # type: ignore[import-not-found]

from benchmarks.side_by_side.candidate import Candidate
from benchmarks.side_by_side.case import Case, Feeds


class _Samples:
    """A data set as torch's loaders want it."""

    def __init__(self, samples: list[Feeds]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, i: int) -> tuple[Feeds, int]:
        return self._samples[i], 0


def static(case: Case, out: Path) -> Candidate:
    """Pre-processed, S8S8 in QDQ form, per tensor, min-max."""

    def samples(**_: Any) -> _Samples:
        return _Samples(case.feeds("calibration"))

    Registry.register_dataset("benchmark_samples")(samples)
    data = DataConfig(
        name="calibration",
        load_dataset_config=DataComponentConfig(type="benchmark_samples"),
        dataloader_config=DataComponentConfig(type="no_auto_batch_dataloader"),
    )
    return _run(OnnxQuantization, {"data_config": data}, case, out)


def dynamic(case: Case, out: Path) -> Candidate:
    """Dynamic quantization with all defaults."""
    return _run(OnnxDynamicQuantization, {}, case, out)


def _run(kind: Any, settings: dict[str, Any], case: Case, out: Path) -> Candidate:
    chosen = create_pass_from_dict(kind, settings, disable_search=True)
    made = chosen.run(ONNXModelHandler(str(case.model)), str(out / "model.onnx"))
    return Candidate(Path(made.model_path))
