"""The table of integer kernels in ``int8_kernels.yaml``, for one machine."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from tamis.compiler.int8_kernels import Int8Kernels
from tamis.compiler.machine_data import Machine

FILE = "int8_kernels.yaml"


def int8_kernels(machine: Machine) -> Int8Kernels | None:
    """What the CPU kernels can do with the machine's fastest pair of types; None for GPUs."""
    if machine.gpu is not None or "int8" not in machine.fast_dtypes:
        return None
    return _of_pair(machine.int8.pair)


@cache
def _of_pair(pair: str) -> Int8Kernels:
    data: dict[str, Any] = yaml.safe_load(files("tamis.targets.onnxruntime").joinpath(FILE).read_text(encoding="utf-8"))
    return Int8Kernels.model_validate(
        {"types": data["types"][pair], "absorbed": data["absorbed"], "operators": data["operators"]}
    )
