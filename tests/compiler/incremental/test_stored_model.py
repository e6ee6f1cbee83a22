"""Models in the cache: what comes back is what was put, weights are shared, and steps that follow do not notice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.cache.entry import BlobLostError
from tamis.compiler.cache.store import Store
from tamis.compiler.incremental.stored_model import GRAPH, ModelStore
from tamis.compiler.model_file import model_bytes
from tests import models

LARGE = models.random(64, 128)
TEXT = """
g (float[N, 64] x) => (float[N, 128] y)
{
  a = MatMul(x, W)
  y = Add(a, b)
}
"""


def two_weights() -> ir.Model:
    return models.model(TEXT, W=LARGE, b=models.random(128))


def test_the_same_model_comes_back(tmp_path: Path) -> None:
    kept, model = ModelStore(Store(tmp_path)), two_weights()
    before = model_bytes(model)
    files = kept.put(model)
    assert len(files) == 2, "the graph with its small weight, and the large one"
    assert model_bytes(model) == before, "storing leaves the model as it is"
    for store in (kept, ModelStore(Store(tmp_path))):
        assert model_bytes(store.get(files)) == before


def test_weights_are_stored_once(tmp_path: Path) -> None:
    kept, model = ModelStore(Store(tmp_path)), two_weights()
    first = kept.put(model)
    changed = model.clone()
    changed.graph[1].op_type = "Sub"
    second = kept.put(changed)
    weights = [{name for name in files if name != GRAPH} for files in (first, second)]
    assert weights[0] == weights[1]
    assert first[GRAPH] != second[GRAPH]
    blobs = [p for p in (tmp_path / "objects").rglob("*") if p.is_file()]
    assert len(blobs) == 3


@pytest.mark.parametrize("dtype", [ir.DataType.INT4, ir.DataType.UINT8, ir.DataType.BFLOAT16, ir.DataType.FLOAT16])
def test_other_element_types(tmp_path: Path, dtype: ir.DataType) -> None:
    model = models.model("g (float[2] x) => (float[2] y) { y = Relu(x) }", 21)
    values = np.arange(1 << 16) % 7
    weights = ir.Tensor(values.astype(dtype.numpy()), dtype=dtype, name="w")
    model.graph.register_initializer(ir.Value(name="w", const_value=weights, type=ir.TensorType(dtype)))
    kept = ModelStore(Store(tmp_path))
    back = kept.get(kept.put(model)).graph.initializers["w"].const_value
    assert back is not None
    assert back.dtype == dtype
    assert back.tobytes() == weights.tobytes()


def test_a_lost_weight_is_noticed(tmp_path: Path) -> None:
    kept = ModelStore(Store(tmp_path))
    files = kept.put(two_weights())
    name = next(name for name in files if name != GRAPH)
    Store(tmp_path).blob(files[name]).unlink()
    with pytest.raises(BlobLostError):
        ModelStore(Store(tmp_path)).get(files)


def test_only_new_weights_count(tmp_path: Path) -> None:
    kept, model = ModelStore(Store(tmp_path)), two_weights()
    assert kept.new_bytes(model) == LARGE.nbytes
    kept.put(model)
    assert kept.new_bytes(model) == kept.new_bytes(model.clone()) == 0
