"""Which machines a quantized bundle may run on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamis.compiler.bundle import Bundle
from tamis.compiler.errors import VerificationError
from tamis.compiler.link import HERE
from tamis.compiler.machine import find_machine
from tamis.compiler.manifest import Manifest, StepRecord, TargetRecord
from tamis.compiler.model_file import save_model
from tamis.compiler.verify_bundle import machine_warnings
from tests.models import model

QDQ = """g (uint8[N, 4] x, float s) => (float[N, 3] y) {
    d = DequantizeLinear(x, s)
    e = DequantizeLinear(w, s)
    y = MatMul(d, e)
}"""
SATURATES, EXACT, ARM = "x86-64-avx2", "x86-64-avx512-vnni", "neoverse-n1"


def bundle(
    folder: Path, machine: str, largest: int, *, contract: str = "lossy", artifact: str = "model.onnx"
) -> Bundle:
    """One that was built for ``machine``, with weights up to ``largest``."""
    made = model(QDQ, w=np.full((4, 3), largest, np.int8))
    next(n for n in made.graph if n.op_type == "MatMul").name = "product"
    save_model(made, folder / "model.onnx")
    step = StepRecord.model_validate(
        {"name": "quantize-static", "contract": contract, "verdict": "kept", "nodes_before": 1, "nodes_after": 3}
    )
    target = TargetRecord(
        name=machine, machine=find_machine(machine), runtime="onnxruntime", options={}, settings={}, fingerprint={},
        link=HERE, executed=True,
    )  # fmt: skip
    fields: dict[str, Any] = {"steps": (step,), "target": target, "artifact": (artifact,)}
    return Bundle(folder, folder, Manifest.model_construct(**fields))


@pytest.mark.parametrize(("built", "here"), [(EXACT, SATURATES), (SATURATES, EXACT), (ARM, SATURATES)])
def test_unsafe_weights_are_refused_where_products_come_out_otherwise(tmp_path: Path, built: str, here: str) -> None:
    with pytest.raises(VerificationError, match="weights of product are not pair-safe") as raised:
        machine_warnings(bundle(tmp_path, built, 127), find_machine(here))
    assert raised.value.exit_code == 3
    assert built in str(raised.value.expected)


@pytest.mark.parametrize(("built", "here"), [(EXACT, SATURATES), (SATURATES, EXACT), (SATURATES, ARM)])
def test_safe_weights_run_everywhere(tmp_path: Path, built: str, here: str) -> None:
    machine_warnings(bundle(tmp_path, built, 64), find_machine(here))


@pytest.mark.parametrize(("built", "here"), [(EXACT, EXACT), (SATURATES, SATURATES), (EXACT, ARM)])
def test_equal_sums_need_no_safe_weights(tmp_path: Path, built: str, here: str) -> None:
    machine_warnings(bundle(tmp_path, built, 127), find_machine(here))


def test_lossless_bundles_are_not_looked_at(tmp_path: Path) -> None:
    machine_warnings(bundle(tmp_path, EXACT, 127, contract="close"), find_machine(SATURATES))


def test_libraries_do_not_show_their_weights(tmp_path: Path) -> None:
    made = bundle(tmp_path, EXACT, 64, artifact="model.so")
    with pytest.raises(VerificationError, match="does not show its weights"):
        machine_warnings(made, find_machine(SATURATES))
    machine_warnings(made, find_machine(EXACT))
