"""The runtime ``onnxruntime`` for ARM machines, emulated by QEMU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.errors import DataError
from tamis.compiler.link import Link
from tamis.compiler.machine import find_machine
from tamis.compiler.tuning_database import TuningDatabase
from tamis.targets.links import qemu
from tamis.targets.links.remote_model import RemoteModel
from tamis.targets.onnxruntime.runtime import OnnxRuntime
from tests.models import model, random

QEMU = Link(kind="qemu")
NET = """g (float[4, 64] x, uint8[4, 64] q) => (float[4, 32] y, int32[4, 32] i)
{ m = MatMul(x, W) y = Relu(m) i = MatMulInteger(q, V) }"""


V = np.random.default_rng(0).integers(-128, 127, (64, 32)).astype(np.int8)


def net() -> ir.Model:
    return model(NET, W=random(64, 32), V=V)


FEEDS = {"x": random(4, 64, seed=1), "q": np.random.default_rng(1).integers(0, 255, (4, 64)).astype(np.uint8)}


@pytest.mark.parametrize("machine", ["cortex-a72", "cortex-a76"])
def test_the_results_are_those_of_x86(machine: str, tmp_path: Path) -> None:
    """Without the dot product, and with it: sums of 8-bit products are exact on both."""
    runtime, described = OnnxRuntime(link=QEMU), find_machine(machine)
    assert runtime.unavailable(described) is None
    with TuningDatabase(tmp_path / "database.sqlite") as database:
        artifact = runtime.lower(net(), tmp_path, described, runtime.default_settings(described), database)
    assert artifact.settings["emulated_cpu"] == described.llvm.cpu
    runner = runtime.load(tmp_path, artifact)
    assert isinstance(runner, RemoteModel)
    found, here = runner(FEEDS), OnnxRuntime().load_model(net())(FEEDS)
    np.testing.assert_allclose(found["y"], here["y"], rtol=1e-5, atol=1e-5)
    assert np.array_equal(found["i"], FEEDS["q"].astype(np.int32) @ V)
    with pytest.raises(DataError, match="no array for input 'q'"):
        runner({"x": FEEDS["x"]})


def test_the_fingerprint_names_the_emulator() -> None:
    found = OnnxRuntime(link=QEMU).fingerprint(find_machine("cortex-a72"))
    assert found["emulator"] == f"{qemu.version()}, cortex-a72"
    assert found["cpu"] == find_machine("cortex-a72").description
    assert "emulator" not in OnnxRuntime().fingerprint(find_machine("host"))


def test_what_each_link_reaches() -> None:
    arm, x86 = find_machine("cortex-a72"), find_machine("x86-64-avx2")
    assert "add 'link: qemu'" in str(OnnxRuntime().unavailable(arm))
    assert OnnxRuntime(link=QEMU).unavailable(arm) is None
    assert "use another link" in str(OnnxRuntime(link=QEMU).unavailable(x86))
    assert OnnxRuntime(link=Link(kind="none")).unavailable(arm) is None
    assert "over RPC" in str(OnnxRuntime(link=Link(kind="rpc", address="h:1")).unavailable(arm))
