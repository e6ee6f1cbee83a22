"""The forms in which TVM is given a case: as it is, with constants, of other element types, at older opsets, folded.

What the suite says nothing about (other types and opsets) ONNX Runtime with its optimizations off decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from benchmarks.corpus.cases import Case, with_constants
from benchmarks.corpus.judge import spec
from benchmarks.corpus.sessions import Session
from benchmarks.corpus.steps import host, stages, steps
from tamis.compiler.graph_pass import PassContext
from tamis.compiler.model_file import MIN_OPSET

TYPES = {
    "float16": np.float16,
    "double": np.float64,
    "int8": np.int8,
    "uint8": np.uint8,
    "int32": np.int32,
    "int64": np.int64,
    "bool": np.bool_,
}
"""Element types, as ONNX's schemas name them, in which cases of float32 are repeated."""
OLDER = 18
"""Newest opset of the older definitions: later ones add types, and hardly anything else."""
SPREAD = 10
"""Factor on floating-point elements before they become integers."""


@dataclass(frozen=True)
class Form:
    """One form of a case.

    Args:
        case: As the suite gives it, or with constants.
        kind: ``as is``, ``folded``, an element type or ``opset N``.
    """

    case: Case
    kind: str = "as is"

    @property
    def name(self) -> str:
        """Unique."""
        return self.case.name if self.kind == "as is" else f"{self.case.name} [{self.kind}]"

    def build(self) -> Case:
        """The case in this form, still with the outputs of the suite.

        Raises:
            StepFailure: Folding failed.
        """
        if self.kind == "as is":
            return self.case
        if self.kind == "folded":
            return replace(self.case, model=_folded(self.case))
        if self.kind in TYPES:
            return _retyped(self.case, self.kind)
        return replace(self.case, model=_at_opset(self.case.model, int(self.kind.removeprefix("opset "))))

    def judged_by_suite(self) -> bool:
        """Whether the outputs of the suite are those of this form."""
        return self.kind in ("as is", "folded")


def forms(case: Case) -> Iterator[Form]:
    """All forms of ``case``; with nothing but constants it would be folded before TVM sees it."""
    taken = [form for form in with_constants(case) if form is case or form.fed]
    yield from (Form(form) for form in taken)
    if len(case.model.graph.node) > 1:
        yield Form(taken[-1], "folded")
    elif case.name.startswith("node/") and is_plain(case) and case.model.graph.node:
        yield from (Form(taken[-1], name) for name in _other_types(case.model))
        yield from (Form(taken[-1], f"opset {version}") for version in _older_opsets(case.model))


def is_plain(case: Case) -> bool:
    """Whether all inputs and outputs are tensors of numbers."""
    values = [value for given, wanted in case.sets for value in (*given, *wanted)]
    return all(isinstance(value, np.ndarray) and value.dtype.kind not in "OUS" for value in values)


def expected(form: Form, case: Case) -> list[list[Any]]:
    """The right outputs of ``case``, which is ``form`` built, for its first set.

    Raises:
        RuntimeFailureError: ONNX Runtime cannot run this form: it is no ONNX, or there is nothing to compare with.
        CannotFeed: The same.
    """
    return [list(case.sets[0][1])] if form.judged_by_suite() else computed(case)


def computed(case: Case) -> list[list[Any]]:
    """Outputs of ONNX Runtime for the first set of ``case``.

    Raises:
        RuntimeFailureError, CannotFeed: See ``expected``.
    """
    feeds = dict(zip([value.name for value in case.fed], case.sets[0][0], strict=True))
    return [Session(ir.from_proto(case.model), optimize=False)(feeds)]


def _folded(case: Case) -> onnx.ModelProto:
    model = ir.from_proto(case.model)
    feeds = dict(zip([value.name for value in case.fed], case.sets[0][0], strict=False))
    folding = [step for step in steps() if step.name == "canonicalize"]
    found = stages(model, folding, PassContext(inputs=spec(model, feeds), target=host()))
    return ir.to_proto(found[-1][1] if found else model)


def opset_of(model: onnx.ModelProto) -> int:
    """Of the standard operators."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)


def _other_types(model: onnx.ModelProto) -> Sequence[str]:
    node = model.graph.node[0]
    if node.domain or not onnx.defs.has(node.op_type):
        return ()
    schema = onnx.defs.get_schema(node.op_type, opset_of(model))
    first = model.graph.input[0].type if model.graph.input else onnx.TypeProto()
    if not schema.inputs or first.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        return ()
    kinds = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    allowed = kinds.get(schema.inputs[0].type_str, ())
    return [name for name in TYPES if f"tensor({name})" in allowed]


def _retyped(case: Case, kind: str) -> Case:
    """With the values that are of the type of the first input in type ``kind``."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    node = model.graph.node[0]
    schema = onnx.defs.get_schema(node.op_type, opset_of(model))
    sides = ((node.input, schema.inputs), (node.output, schema.outputs))
    shared = schema.inputs[0].type_str
    names = {
        name for actual, formal in sides for i, name in enumerate(actual)
        if name and formal[min(i, len(formal) - 1)].type_str == shared
    }  # fmt: skip
    target = onnx.numpy_helper.from_array(np.zeros(0, TYPES[kind])).data_type
    for value in (*model.graph.input, *model.graph.output):
        if value.name in names:
            value.type.tensor_type.elem_type = target
    for tensor in model.graph.initializer:
        if tensor.name in names:
            array = _converted(onnx.numpy_helper.to_array(tensor), kind)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    fed = [
        _converted(array, kind) if value.name in names else array
        for value, array in zip(case.fed, case.sets[0][0], strict=True)
    ]
    return replace(case, model=model, sets=((fed, case.sets[0][1]),))


def _converted(array: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    if array.dtype != np.float32:
        return array
    if kind == "bool":
        return np.asarray(array > 0)
    if not np.issubdtype(TYPES[kind], np.integer):
        with np.errstate(over="ignore"):
            return np.asarray(array.astype(TYPES[kind]))
    limits = np.iinfo(TYPES[kind])
    finite = np.nan_to_num(array * SPREAD, nan=0.0, posinf=SPREAD, neginf=-SPREAD)
    return np.asarray(np.clip(np.rint(finite), max(limits.min, -128), min(limits.max, 127)).astype(TYPES[kind]))


def _older_opsets(model: onnx.ModelProto) -> Sequence[int]:
    """The newest opset of each older definition that the node's inputs, outputs and attributes fit."""
    node = model.graph.node[0]
    if node.domain or not onnx.defs.has(node.op_type):
        return ()
    opset = opset_of(model)
    newest = onnx.defs.get_schema(node.op_type, opset).since_version
    return [v for v in _definitions(node.op_type) if MIN_OPSET <= v <= min(OLDER, newest - 1) and _fits(node, v)]


@cache
def _definitions(op_type: str) -> tuple[int, ...]:
    """The last opset of each definition but the newest."""
    starts = sorted(
        {s.since_version for s in onnx.defs.get_all_schemas_with_history() if s.name == op_type and not s.domain}
    )
    return tuple(start - 1 for start in starts[1:])


def _fits(node: onnx.NodeProto, opset: int) -> bool:
    schema = onnx.defs.get_schema(node.op_type, opset)
    return (
        {a.name for a in node.attribute} <= set(schema.attributes)
        and schema.min_input <= len(node.input) <= schema.max_input
        and schema.min_output <= len(node.output) <= schema.max_output
    )


def _at_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    older = onnx.ModelProto()
    older.CopyFrom(model)
    for entry in older.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = opset
    return older
