"""Loading with distrust, saving the same bytes for the same model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tamis.compiler import model_file
from tamis.compiler.errors import ModelError, WriteError
from tamis.compiler.model_file import load_model, model_bytes, save_model
from tests.models import model, random

IF = """
agraph (float[2] x, bool go) => (float[2] y) {
  y = If(go) <
    then_branch = yes () => (float[2] a) { one = Constant<value = float[2] {1.0, 1.0}>() a = Add(x, one) },
    else_branch = no () => (float[2] b) { b = Neg(x) }
  >
}
"""
CUSTOM = """
agraph (float[2] x) => (float[2] y) { h = com.acme.Mystery<alpha = 3>(x, "", x) y = Relu(h) }
""".replace(', "", x', ", , x")


def small() -> ir.Model:
    return model("g (float[N, 4] x) => (float[N, 3] y) { y = MatMul(x, W) }", W=random(4, 3))


@pytest.mark.parametrize(
    "made",
    [
        small,
        lambda: model(IF),
        lambda: ir.from_onnx_text('<ir_version: 8, opset_import: ["" : 17, "com.acme" : 1]>' + CUSTOM),
    ],
    ids=["weights", "subgraphs", "custom domain and optional input"],
)
def test_a_round_trip_keeps_every_byte(tmp_path: Path, made: Callable[[], ir.Model]) -> None:
    first = made()
    assert save_model(first, tmp_path / "a.onnx") == [tmp_path / "a.onnx"]
    loaded = load_model(tmp_path / "a.onnx")
    save_model(loaded, tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes() == model_bytes(loaded)


def external(folder: Path, location: str = "w.bin", size: int = 48) -> Path:
    """A model whose weight lies in another file."""
    proto = ir.to_proto(small())
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    (folder / "w.bin").write_bytes(np.arange(12, dtype=np.float32).tobytes()[:size])
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def test_external_data_is_mapped_and_written_inline(tmp_path: Path) -> None:
    loaded = load_model(external(tmp_path))
    tensor = loaded.graph.initializers["W"].const_value
    assert isinstance(tensor, ir.ExternalTensor)
    (tmp_path / "out").mkdir()
    save_model(loaded, tmp_path / "out" / "m.onnx")
    assert onnx.load(tmp_path / "out" / "m.onnx").graph.initializer[0].raw_data == (tmp_path / "w.bin").read_bytes()
    assert loaded.graph.initializers["W"].const_value is tensor


def test_large_weights_go_to_a_data_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "INLINE_LIMIT", 1000)
    big = model("g (float[N, 40] x) => (float[N, 30] y) { y = MatMul(x, W) }", W=random(40, 30))
    written = save_model(big, tmp_path / "m.onnx")
    assert [p.name for p in written] == ["m.onnx", "m.onnx.data"]
    again = load_model(tmp_path / "m.onnx").graph.initializers["W"].const_value
    assert again is not None
    assert np.array_equal(again.numpy(), random(40, 30))
    assert not isinstance(big.graph.initializers["W"].const_value, ir.ExternalTensor)


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "sub/../../w.bin"])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "m").mkdir()
    path = external(tmp_path / "m", location)
    (tmp_path / "w.bin").write_bytes(bytes(48))
    with pytest.raises(ModelError, match="outside the model's folder"):
        load_model(path)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    path = external(tmp_path / "m", "link.bin")
    (tmp_path / "secret").write_bytes(bytes(48))
    (tmp_path / "m" / "link.bin").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="outside the model's folder"):
        load_model(path)


def test_external_data_in_a_subgraph_is_checked_too(tmp_path: Path) -> None:
    proto = ir.to_proto(model(IF))
    branch = proto.graph.node[0].attribute[0].g
    constant = branch.node[0].attribute[0].t
    constant.ClearField("float_data")
    constant.ClearField("raw_data")
    constant.data_location = onnx.TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="../secret")
    (tmp_path / "secret").write_bytes(bytes(8))
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=r"outside the model's folder|damaged"):
        load_model(tmp_path / "m" / "m.onnx")


def test_short_and_missing_external_data(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="too short"):
        load_model(external(tmp_path, size=40))
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelError, match="missing"):
        load_model(tmp_path / "m.onnx")


def test_versions_out_of_range(tmp_path: Path) -> None:
    for opset, ir_version, words in ((6, 8, "opset"), (999, 8, "opset"), (17, 999, "IR version")):
        proto = ir.to_proto(small())
        proto.opset_import[0].version, proto.ir_version = opset, ir_version
        (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
        with pytest.raises(ModelError, match=words):
            load_model(tmp_path / "m.onnx")


def test_too_many_nodes(tmp_path: Path) -> None:
    save_model(model("g (float[2] x) => (float[2] y) { a = Neg(x) b = Neg(a) y = Neg(b) }"), tmp_path / "m.onnx")
    assert load_model(tmp_path / "m.onnx", max_nodes=3)
    with pytest.raises(ModelError, match="too many nodes"):
        load_model(tmp_path / "m.onnx", max_nodes=2)


def test_every_truncation_and_many_flips_end_in_a_model_or_a_model_error(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save_model(model(IF), path)
    data = path.read_bytes()
    generator = np.random.default_rng(0)
    damaged = [data[:n] for n in range(len(data))]
    for _ in range(300):
        flipped = bytearray(data)
        flipped[generator.integers(len(data))] ^= int(generator.integers(1, 256))
        damaged.append(bytes(flipped))
    refused = 0
    for variant in damaged:
        path.write_bytes(variant)
        try:
            load_model(path)
        except ModelError:
            refused += 1
    assert refused > len(data) * 0.9


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(WriteError, match="No space left"):
        save_model(small(), tmp_path / "m.onnx")
