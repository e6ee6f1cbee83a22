"""What a method makes of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.side_by_side.case import Case

RunBy = Literal["onnxruntime", "openvino", "tamis"]


@dataclass(frozen=True)
class Candidate:
    """A model that is to be judged.

    Args:
        path: An ONNX file, OpenVINO's .xml file, or the bundle of tamis.
        run_by: What it is measured with. A bundle is opened with the session settings that it carries.
        notes: What else is worth knowing, a line each.
    """

    path: Path
    run_by: RunBy = "onnxruntime"
    notes: tuple[str, ...] = field(default=())


Maker = Callable[[Case, Path], Candidate]
"""Make a candidate of the case's model in a folder."""
