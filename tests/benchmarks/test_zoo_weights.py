"""Weight files are read without PyTorch, without running anything from them; graphs built from weights run."""

from __future__ import annotations

import collections
import io
import json
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from benchmarks.zoo.crepe_graph import BINS, BLOCKS, FRAME, save_crepe
from benchmarks.zoo.onnx_session import session
from benchmarks.zoo.safetensors_file import read_safetensors
from benchmarks.zoo.torch_file import MAGIC, PROTOCOL, read_state_dict

VALUES = np.arange(12, dtype=np.float32)


class FloatStorage:
    """Stands in for the class of that name in PyTorch."""


def rebuild(*_: Any) -> None:
    """Stands in for the function that PyTorch pickles a tensor as."""


class Tensor:
    def __init__(self, start: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.parts = (start, shape, strides)

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (FloatStorage(), *self.parts, False, collections.OrderedDict())


class Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return ("storage", FloatStorage, "0", "cpu", len(VALUES)) if isinstance(obj, FloatStorage) else None


@pytest.fixture
def pickled(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A state dict as PyTorch writes it: the names lie in modules called torch and torch._utils."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    vars(torch)["FloatStorage"], vars(utils)["_rebuild_tensor_v2"] = FloatStorage, rebuild
    monkeypatch.setattr(FloatStorage, "__module__", "torch")
    monkeypatch.setattr(rebuild, "__module__", "torch._utils")
    monkeypatch.setattr(rebuild, "__qualname__", "_rebuild_tensor_v2")
    monkeypatch.setattr(rebuild, "__name__", "_rebuild_tensor_v2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", torch)
        patch.setitem(sys.modules, "torch._utils", utils)
        stream = io.BytesIO()
        tensors = {"rows": Tensor(0, (3, 4), (4, 1)), "turned": Tensor(4, (2, 2), (1, 4))}
        Pickler(stream, protocol=2).dump(collections.OrderedDict(tensors))
    return stream.getvalue()


def check(path: Path) -> None:
    state = read_state_dict(path)
    assert list(state) == ["rows", "turned"]
    np.testing.assert_array_equal(state["rows"], VALUES.reshape(3, 4))
    np.testing.assert_array_equal(state["turned"], [[4, 8], [5, 9]])


def test_reads_the_zip_layout(tmp_path: Path, pickled: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", VALUES.tobytes())
    check(tmp_path / "w.pth")


def test_reads_the_old_layout(tmp_path: Path, pickled: bytes) -> None:
    parts = [pickle.dumps(p, 2) for p in (MAGIC, PROTOCOL, {"little_endian": True})]
    data = len(VALUES).to_bytes(8, "little") + VALUES.tobytes()
    (tmp_path / "w.pth").write_bytes(b"".join([*parts, pickled, pickle.dumps(["0"], 2), data]))
    check(tmp_path / "w.pth")


def test_refuses_a_pickle_that_calls_something(tmp_path: Path) -> None:
    class Call:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("called",)

    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Call(), 2))
    with pytest.raises(pickle.UnpicklingError, match=r"refusing .*print"):
        read_state_dict(tmp_path / "w.pth")


def test_refuses_a_tensor_beyond_its_storage(tmp_path: Path, pickled: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", VALUES[:8].tobytes())
    with pytest.raises(pickle.UnpicklingError, match="larger than its storage"):
        read_state_dict(tmp_path / "w.pth")


def test_refuses_another_file(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"".join(pickle.dumps(n, 2) for n in (1, 2, 3)))
    with pytest.raises(pickle.UnpicklingError, match="not a little-endian PyTorch file"):
        read_state_dict(tmp_path / "w.pth")


def test_reads_safetensors(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]},
        "b": {"dtype": "I64", "shape": [1], "data_offsets": [48, 56]},
    }
    text = json.dumps(header).encode()
    body = VALUES.tobytes() + np.array([7]).tobytes()
    (tmp_path / "w.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + body)
    arrays = read_safetensors(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(arrays["a"], VALUES.reshape(3, 4))
    np.testing.assert_array_equal(arrays["b"], [7])


def test_a_graph_from_weights_is_valid_and_runs(tmp_path: Path) -> None:
    g = np.random.default_rng(0)
    channels = [1, 8, 4, 4, 4, 4, 4]
    weights: dict[str, Any] = {"classifier.weight": g.normal(size=(BINS, 16)), "classifier.bias": np.zeros(BINS)}
    for i in range(1, BLOCKS + 1):
        weights[f"conv{i}.weight"] = g.normal(size=(channels[i], channels[i - 1], 512 if i == 1 else 64, 1))
        for name in ("_BN.weight", "_BN.running_var", "_BN.bias", "_BN.running_mean", ".bias"):
            weights[f"conv{i}{name}"] = np.ones(channels[i])
    save_crepe({name: array.astype(np.float32) for name, array in weights.items()}, tmp_path / "m.onnx")
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
    (salience,) = session(tmp_path / "m.onnx").run(None, {"frames": g.normal(size=(2, FRAME)).astype(np.float32)})
    assert salience.shape == (2, BINS)
