"""The cases of ONNX's backend test suite that the installed ``onnx`` package generates or ships.

Each case is also looked at with its inputs turned into constants: all but the first (how exporters write weights and
shapes, so that the passes find what they fuse), and all of them (so that everything is folded).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
OLDEST_WITH_CONSTANTS = 4
"""IR version from which on an initializer need not be a graph input."""

Sets = tuple[tuple[list[Any], list[Any]], ...]


@dataclass(frozen=True)
class Case:
    """One model with its inputs and expected outputs.

    Args:
        name: ``kind/name``, with ``[constant weights]`` or ``[constant]`` behind it where inputs became constants.
        model: As the suite gives it.
        sets: (Inputs, expected outputs) in the order of the graph's; arrays, lists of arrays (sequences) or None.
        rtol, atol: Of the suite's comparison.
    """

    name: str
    model: onnx.ModelProto
    sets: Sets
    rtol: float
    atol: float

    @property
    def fed(self) -> list[onnx.ValueInfoProto]:
        """The graph inputs that take the arrays of a set, in order."""
        defaulted = {tensor.name for tensor in self.model.graph.initializer}
        return [value for value in self.model.graph.input if value.name not in defaulted]


@cache
def load_cases() -> tuple[Case, ...]:
    """All cases as the suite gives them, sorted by name; a few seconds, once a process."""
    from onnx.backend.test.case.model import collect_testcases
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the suite's generators overflow on purpose
        found = {f"{kind}/{case.name}": case for kind in KINDS for case in load_model_tests(kind=kind)}
        for case in collect_testcases():
            found.setdefault(f"{case.kind}/{case.name}", case)
    return tuple(_case(name, found[name]) for name in sorted(found))


def with_constants(case: Case) -> Iterator[Case]:
    """``case`` as it is, with all inputs but the first as constants, and with all of them."""
    yield case
    count = len(case.fed)
    if count > 1 and _may_be_constant(case, 1):
        yield _fix(case, 1, "constant weights")
    if count and _may_be_constant(case, 0):
        yield _fix(case, 0, "constant")


def _case(name: str, found: Any) -> Case:
    if found.model is not None:
        sets = tuple(([_value(a) for a in i], [_value(a) for a in o]) for i, o in found.data_sets)
        return Case(name, found.model, sets, found.rtol, found.atol)
    if found.model_dir is not None:
        model = onnx.load(Path(found.model_dir) / "model.onnx")
        folders = sorted(Path(found.model_dir).glob("test_data_set_*"))
        return Case(name, model, tuple(_read_set(model, folder) for folder in folders), found.rtol, found.atol)
    return _light(name, found)


def _light(name: str, found: Any) -> Case:
    """A classic network with made-up weights; inputs are those that the suite's runner makes up."""
    model = onnx.load(LIGHT / Path(found.url).name)
    case = Case(name, model, (), found.rtol, found.atol)
    inputs = []
    for value in case.fed:
        shape = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        size = int(np.prod(shape))
        inputs.append((np.arange(size).reshape(shape) / size).astype(np.float32))
    outputs = [
        numpy_helper.to_array(onnx.load_tensor(LIGHT / f"{Path(found.url).stem}_output_{i}.pb"))
        for i in range(len(model.graph.output))
    ]
    return replace(case, sets=((inputs, outputs),))


def _read_set(model: onnx.ModelProto, folder: Path) -> tuple[list[Any], list[Any]]:
    def read(which: str, values: Any) -> list[Any]:
        files = sorted(folder.glob(f"{which}_*.pb"), key=lambda file: int(file.stem.rpartition("_")[2]))
        return [_parse(file.read_bytes(), value.type) for file, value in zip(files, values, strict=False)]

    return read("input", model.graph.input), read("output", model.graph.output)


def _parse(data: bytes, kind: onnx.TypeProto) -> Any:
    if kind.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def _value(given: Any) -> Any:
    """Lists and None as they are, everything else as an array."""
    if given is None:
        return None
    if isinstance(given, list | tuple):
        return [_value(item) for item in given]
    return numpy_helper.to_array(given) if isinstance(given, onnx.TensorProto) else np.asarray(given)


def _may_be_constant(case: Case, first: int) -> bool:
    outputs = {value.name for value in case.model.graph.output}
    values = list(zip(case.fed, case.sets[0][0], strict=False))[first:]
    return bool(values) and all(
        value.type.HasField("tensor_type") and isinstance(array, np.ndarray) and value.name not in outputs
        for value, array in values
    )


def _fix(case: Case, first: int, label: str) -> Case:
    """The inputs from ``first`` on as initializers, with the values of the first set."""
    inputs, outputs = case.sets[0]
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    model.ir_version = max(model.ir_version, OLDEST_WITH_CONSTANTS)
    fixed = case.fed[first:]
    for value, array in zip(fixed, inputs[first:], strict=False):
        tensor = numpy_helper.from_array(array, value.name)
        tensor.data_type = value.type.tensor_type.elem_type
        model.graph.initializer.append(tensor)
    names = {value.name for value in fixed}
    kept = [value for value in model.graph.input if value.name not in names]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return Case(f"{case.name} [{label}]", model, ((inputs[:first], outputs),), case.rtol, case.atol)
