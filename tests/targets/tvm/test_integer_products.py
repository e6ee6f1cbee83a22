"""Quantized products: in integers where there is an instruction for them, and the same results everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import tamis
from tamis.compiler.machine import find_machine
from tamis.targets.hardware.host import detect
from tamis.targets.links import qemu
from tamis.targets.links.remote_model import RemoteModel
from tamis.targets.tvm.child import CompilerProcess
from tamis.targets.tvm.int8_kernels import int8_kernels
from tamis.targets.tvm.layout import preferred_layout
from tamis.targets.tvm.loaded_library import LoadedLibrary
from tamis.targets.tvm.machine_target import machine_target
from tests.models import Array, model, random, run

EDGES = """g (float[1, 8, 9, 10] x, float[2, 3, 18] a)
=> (float[1, 32, 5, 4] strided, float[1, 24, 9, 10] chained, float[1, 20, 9, 6] signed, float[1, 8, 9, 10] grouped,
    float[2, 3, 20] product, float[6, 16] transposed, float[1, 6, 9, 10] ragged, uint8[2, 3, 18] rounded)
{
    xq = QuantizeLinear(x, s, z) xd = DequantizeLinear(xq, s, z)
    w1d = DequantizeLinear<axis = 0>(w1, w1s, w1z)
    strided = Conv<strides = [2, 3], pads = [1, 2, 1, 0]>(xd, w1d, b1)
    w2d = DequantizeLinear(w2, t, n)
    c = Conv(xd, w2d) r = Relu(c)
    rq = QuantizeLinear(r, s, zero) rd = DequantizeLinear(rq, s, zero)
    w3d = DequantizeLinear(w3, t, n)
    d = Conv(rd, w3d) chained = Add(d, rd)
    xi = QuantizeLinear(x, s, m) xid = DequantizeLinear(xi, s, m)
    w4d = DequantizeLinear(w4, t, high)
    signed = Conv<dilations = [1, 2], pads = [1, 0, 1, 0]>(xid, w4d)
    w5d = DequantizeLinear(w5, t, n)
    grouped = Conv<group = 4>(xd, w5d)
    aq = QuantizeLinear(a, s, z) ad = DequantizeLinear(aq, s, z)
    w6d = DequantizeLinear<axis = 1>(w6, w6s, w6z)
    product = MatMul(ad, w6d)
    fq = Reshape(aq, rows) flat = DequantizeLinear(fq, s, z)
    w7d = DequantizeLinear<axis = 0>(w7, w7s, w7z)
    transposed = Gemm<transB = 1>(flat, w7d, b7)
    w8d = DequantizeLinear(w8, t, n)
    ragged = Conv(xd, w8d)
    steps = Mul(a, s) huge = Mul(a, far) ties = Where(half, huge, steps)
    rounded = QuantizeLinear(ties, s, z)
}"""
"""Borders, strides, dilation, channels that fill no four products, results in blocks of 16, 8, 4 and none, both signs."""
INTEGER, FLOAT = 6, 2
"""Products of ``EDGES`` that there are instructions for, and others: the grouped one, and one of 6 channels."""


def integers(*shape: int, seed: int, dtype: str = "int8") -> Array:
    """Of the whole range."""
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(dtype)


def scalar(value: float, dtype: str = "float32") -> Array:
    return np.asarray(value, dtype)


def scales(count: int) -> Array:
    return (0.01 + 0.001 * np.arange(count)).astype(np.float32)


@pytest.fixture(scope="module")
def edges() -> ir.Model:
    found = model(
        EDGES,
        s=scalar(0.0625), z=scalar(131, "uint8"), zero=scalar(0, "uint8"), m=scalar(-7, "int8"), t=scalar(0.015625), n=scalar(0, "int8"),
        high=scalar(128, "uint8"), far=scalar(1e9), half=np.arange(18) % 5 == 0, rows=np.array([-1, 18]),
        w1=integers(32, 8, 3, 3, seed=1), w1s=scales(32), w1z=np.zeros(32, np.int8), b1=random(32, seed=2),
        w2=integers(24, 8, 1, 1, seed=3), w3=integers(24, 24, 1, 1, seed=4), w4=integers(20, 8, 3, 3, seed=5, dtype="uint8"),
        w5=integers(8, 2, 1, 1, seed=6), w6=integers(18, 20, seed=7), w6s=scales(20), w6z=np.zeros(20, np.int8),
        w7=integers(16, 18, seed=8), w7s=scales(16), w7z=np.zeros(16, np.int8), b7=random(16, seed=9),
        w8=integers(6, 8, 1, 1, seed=10),
    )  # fmt: skip
    return ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(found)))


def feeds() -> dict[str, Array]:
    """``a`` holds halves, so that half of what is rounded lies in the middle between two integers."""
    return {"x": 8 * random(1, 8, 9, 10, seed=11), "a": np.rint(20 * random(2, 3, 18, seed=12)) / 2}


MACHINES = {"x86-64-avx512-vnni": INTEGER, "x86-64-avx2": 0, "cortex-a76": INTEGER, "cortex-a72": 0}


@pytest.mark.parametrize("name", MACHINES)
def test_all_machines_compute_what_onnxruntime_does(
    name: str, edges: ir.Model, compiler_process: CompilerProcess, tmp_path: Path
) -> None:
    machine = find_machine(name)
    inputs = [{"name": n, "dtype": "float32", "shape": list(a.shape)} for n, a in feeds().items()]
    outputs = [str(value.name) for value in edges.graph.outputs]
    settings: dict[str, Any] = {"threads": 2, "layout": "nhwc", "inputs": inputs, "outputs": outputs}
    ir.save(edges, tmp_path / "model.onnx")
    request = {"model": str(tmp_path / "model.onnx"), "target": machine_target(machine, 2), "settings": settings}
    built = compiler_process.request("build", {**request, "out": str(tmp_path), "known": None, "gpu": None})
    assert built["integer_products"] == MACHINES[name]
    if machine.arch == "aarch64":
        path, emulated = tmp_path / "model.so", qemu.environment(machine.llvm.cpu)
        found = RemoteModel("tvm", path, settings, command=qemu.command(), environment=emulated)(feeds())
    elif set(machine.isa) <= set(detect().isa):
        found = LoadedLibrary(tmp_path / "model.so", settings)(feeds())
    else:  # QEMU has no AVX-512: there only what was built is looked at
        assert (tmp_path / "model.so").stat().st_size > 0
        return
    for output, wanted in zip(outputs, run(edges, feeds()), strict=True):
        if wanted.dtype == np.uint8:
            np.testing.assert_array_equal(found[output], wanted, output)
        else:
            np.testing.assert_allclose(found[output], wanted, rtol=0, atol=2e-5 * np.abs(wanted).max(), err_msg=output)


def test_quantized_images_have_channels_last_where_that_pays(edges: ir.Model) -> None:
    small = model("g (float[1, 3, 64, 64] x) => (float[1, 4, 64, 64] y) { y = Conv(x, w) }", w=random(4, 3, 1, 1))
    assert preferred_layout(small, find_machine("x86-64-avx512-vnni")) == "nchw"
    assert preferred_layout(edges, find_machine("cortex-a76")) == "nhwc"


def test_the_table_follows_the_instruction() -> None:
    vnni, arm = int8_kernels(find_machine("x86-64-avx512-vnni")), int8_kernels(find_machine("cortex-a76"))
    assert vnni is not None and vnni.types.activations == "uint8"
    assert arm is not None and arm.types.activations == "int8"
    for name in ("x86-64-avx2", "cortex-a72", "nvidia-sm80"):
        assert int8_kernels(find_machine(name)) is None


NET = """g (float[1, 3, 12, 12] x) => (float[1, 16] y)
{
    c = Conv<pads = [1, 1, 1, 1]>(x, w1, b1) r = Relu(c)
    d = Conv<pads = [1, 1, 1, 1]>(r, w2, b2) e = Add(r, d) f = Relu(e)
    m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(f)
    p = Conv<group = 16, pads = [1, 1, 1, 1]>(m, w3, b3) q = Relu(p)
    h = Conv(q, w4) g = GlobalAveragePool(h) k = Flatten(g) y = Gemm(k, w5, b5)
}"""


def test_a_network_quantized_by_recipe_int8(tmp_path: Path) -> None:
    net = model(
        NET,
        w1=random(16, 3, 3, 3) / 4, b1=random(16, seed=1), w2=random(16, 16, 3, 3, seed=2) / 12, b2=random(16, seed=3),
        w3=random(16, 1, 3, 3, seed=4) / 3, b3=random(16, seed=5), w4=random(32, 16, 1, 1, seed=6) / 4,
        w5=random(32, 16, seed=7) / 6, b5=random(16, seed=8),
    )  # fmt: skip
    ir.save(net, tmp_path / "net.onnx")
    samples = random(24, 1, 3, 12, 12, seed=9)
    np.savez(tmp_path / "samples.npz", x=samples[:, 0])
    sets: dict[str, Any] = {
        "targets": [{"machine": "host", "runtime": "tvm"}],
        "data.calibration": {"npz": str(tmp_path / "samples.npz")},
    }
    bundle = tamis.compile(tmp_path / "net.onnx", recipe="int8", out=tmp_path / "out", set=sets)
    if int8_kernels(detect()) is None:  # without the instruction the recipe gives the float model back, and says why
        step = next(step for step in bundle.report.steps if step.name == "quantize-static")
        assert step.verdict == "undone" and "no 8-bit integer kernels" in str(step.reason)
        return
    assert any("4 products in 8-bit integers" in note for note in bundle.report.target.notes)
    wanted = np.concatenate([run(net, {"x": x})[0] for x in samples])
    found = np.concatenate([tamis.load(bundle.path)({"x": x})["y"] for x in samples])
    assert 1e-4 < np.abs(found - wanted).max() / np.abs(wanted).max() < 0.1
