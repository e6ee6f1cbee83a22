"""One case through the steps, before and after in ONNX Runtime, and both against what the suite expects."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from benchmarks.corpus.cases import Case
from benchmarks.corpus.sessions import CannotFeed, Session
from benchmarks.corpus.steps import Stage, StepFailure, contract_here, host, stages, steps
from tamis.compiler.compare_outputs import compare_outputs
from tamis.compiler.conditioning import rounding_floors
from tamis.compiler.errors import RuntimeFailureError
from tamis.compiler.graph_pass import Contract, GraphPass, PassContext
from tamis.compiler.input_spec import InputSpec, TensorSpec
from tamis.compiler.model_file import MIN_OPSET
from tamis.compiler.verify import CLOSE_TOLERANCE

BFLOAT16_RTOL = 2.0**-6
"""Of the suite's own runner, for bfloat16 outputs."""
ILLEGAL = {
    "node/test_affine_grid_2d_expanded": "Input to 'Range' op should be scalars",
    "node/test_affine_grid_2d_align_corners_expanded": "Input to 'Range' op should be scalars",
}
"""Cases that break ONNX's rules where shapes hide it -> what ONNX Runtime says once shapes are known.

The expanded AffineGrid gives Range one-element tensors of one dimension; its shapes are known after folding its If.
"""
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|\([^()]*\)|\[[^\[\]]*\]|\d+")


class Outcome(enum.StrEnum):
    """What became of a case."""

    MATCHED = "matches the suite's expected output"
    AS_ORIGINAL = "matches the original, which differs from the suite in ONNX Runtime"
    RANDOM = "random: type and shape match"
    ILLEGAL = "the original is not legal ONNX, which ONNX Runtime sees in the result only"
    NOT_RUN = "ONNX Runtime cannot run the original"
    MISMATCH = "MISMATCH"
    CRASH = "CRASH"


FAILED = (Outcome.MISMATCH, Outcome.CRASH)


@dataclass(frozen=True)
class Result:
    """Outcome of one case.

    Args:
        name: Of the case.
        outcome: What became of it.
        reason: For all outcomes but a match.
        changed_by: Steps that changed the model.
    """

    name: str
    outcome: Outcome
    reason: str = ""
    changed_by: tuple[str, ...] = ()


def judge(case: Case, chosen: Sequence[GraphPass[Any]] | None = None) -> Result:
    """Take ``case`` through ``chosen``, by default the steps of the recipe and the target's."""
    chosen = steps() if chosen is None else chosen
    model = ir.from_proto(as_the_loader_wants(case.model))
    feeds = [dict(zip([v.name for v in case.fed], inputs, strict=False)) for inputs, _ in case.sets]
    context = PassContext(inputs=spec(model, feeds[0]), target=host())
    try:
        found = stages(model, chosen, context)
    except StepFailure as failure:
        return Result(case.name, Outcome.CRASH, str(failure))
    changed = tuple(step.name for step, _ in found)
    try:
        outcome, reason = _compare(case, model, found, feeds)
    except _Differs as difference:
        reason = str(difference)
        known = case.name in ILLEGAL and ILLEGAL[case.name] in reason
        outcome = Outcome.ILLEGAL if known else Outcome.MISMATCH
    return Result(case.name, outcome, reason, changed)


def as_the_loader_wants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Older models converted as the error of ``load_model`` tells; those that cannot be converted stay as they are."""
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), MIN_OPSET)
    if opset >= MIN_OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, MIN_OPSET)
    except (onnx.version_converter.ConvertError, RuntimeError):  # no pass may fail on what cannot be converted either
        return model


def spec(model: ir.Model, feeds: Mapping[str, Any]) -> InputSpec:
    """The tensors among the inputs, with the sizes that are fed."""
    tensors = [
        TensorSpec(str(v.name), feeds[str(v.name)].dtype, feeds[str(v.name)].shape)
        for v in model.graph.inputs
        if isinstance(v.type, ir.TensorType) and isinstance(feeds.get(str(v.name)), np.ndarray)
    ]
    return InputSpec(tuple(tensors), {})


class _Differs(Exception):
    """Outputs differ where they may not."""


def _compare(case: Case, model: ir.Model, found: list[Stage], feeds: list[dict[str, Any]]) -> tuple[Outcome, str]:
    result = found[-1][1] if found else model
    try:
        original = [_run(model, feed, optimize=True) for feed in feeds]
        as_written = [_run(model, feed, optimize=False) for feed in feeds]
    except CannotFeed as error:
        return Outcome.NOT_RUN, f"its Python interface cannot hand over {error}"
    except RuntimeFailureError as error:
        return Outcome.NOT_RUN, brief(error)
    random = any(differences([_run(model, f, optimize=False)], [o]) for f, o in zip(feeds, as_written, strict=True))
    if random:
        _hold_shapes(original, [_rerun("all", result, feed, optimize=True) for feed in feeds])
        return Outcome.RANDOM, ""
    before = as_written
    for step, after in found:
        outputs = [_rerun(step.name, after, feed, optimize=False) for feed in feeds]
        exact = contract_here(step, model) is Contract.EXACT
        if problems := differences(before, outputs, exact=exact):
            raise _Differs(f"{step.name} breaks its contract: {'; '.join(problems)}")
        before = outputs
    wanted = [outputs for _, outputs in case.sets]
    reason = suite_difference(case, wanted, original)
    for name, after in _shown(found) or [("none", model)]:
        outputs = [_rerun(name, after, feed, optimize=True) for feed in feeds]
        problem = suite_difference(case, wanted, outputs) if not reason else "; ".join(differences(original, outputs))
        if problem:
            raise _Differs(f"after {name}, optimized by the runtime: {problem}")
    return (Outcome.AS_ORIGINAL, reason) if reason else (Outcome.MATCHED, "")


def _shown(found: list[Stage]) -> list[tuple[str, ir.Model]]:
    """Models that are also run with the runtime's own optimizations on: the canonical form, and the last."""
    stages = [(step.name, model) for step, model in found]
    return [stage for stage in stages[:-1] if stage[0] == "canonicalize"][:1] + stages[-1:]


def _run(model: ir.Model, feeds: Mapping[str, Any], *, optimize: bool) -> list[Any]:
    names = {str(v.name) for v in model.graph.inputs}
    return Session(model, optimize=optimize)({name: value for name, value in feeds.items() if name in names})


def _rerun(name: str, model: ir.Model, feeds: Mapping[str, Any], *, optimize: bool) -> list[Any]:
    """Of a model after our steps: what the original can do, it must do."""
    try:
        return _run(model, feeds, optimize=optimize)
    except (RuntimeFailureError, CannotFeed) as error:
        raise _Differs(f"does not run after {name}: {error}") from error


def suite_difference(case: Case, wanted: list[list[Any]], outputs: list[list[Any]]) -> str:
    """The first difference from the suite's expected output by its own rules; empty if there is none."""
    for want_all, got_all in zip(wanted, outputs, strict=True):
        want, got = _flat(want_all), _flat(got_all)
        if want.keys() != got.keys():
            return f"outputs {list(got)} instead of {list(want)}"
        for name, array in want.items():
            try:
                _assert_similar(array, got[name], case)
            except (AssertionError, TypeError) as error:
                return f"{name}: {_line(str(error))}"
    return ""


def _assert_similar(want: np.ndarray[Any, Any], got: np.ndarray[Any, Any], case: Case) -> None:
    np.testing.assert_array_equal(got.shape, want.shape, err_msg="shape")
    if want.dtype.kind in "OUS":
        np.testing.assert_array_equal(got.astype(str), want.astype(str))
        return
    np.testing.assert_equal(got.dtype, want.dtype)
    rtol = case.rtol
    if want.dtype.isbuiltin != 1:
        rtol = max(rtol, BFLOAT16_RTOL) if want.dtype.name == "bfloat16" else rtol
        got, want = got.astype(np.float32), want.astype(np.float32)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=case.atol)


def differences(want: list[list[Any]], got: list[list[Any]], *, exact: bool = False) -> list[str]:
    """What is apart by more than ``close`` (or by a bit) allows."""
    problems = []
    for want_all, got_all in zip(want, got, strict=True):
        types = {name: array.dtype for name, array in _flat(want_all).items()}
        outputs, others = _widened(want_all), _widened(got_all)
        floors = rounding_floors([{n: a for n, a in outputs.items() if types[n].isbuiltin == 1}])
        for d in compare_outputs(outputs, others):
            allowed = CLOSE_TOLERANCE.get(types[d.name].name, 0.0)
            near = d.tolerance_needed <= allowed or d.max_abs <= floors.get(d.name, 0.0)
            if d.problem is not None or not (d.same_bits if exact else near):
                problems.append(f"{d.name}: {d.problem or f'{d.tolerance_needed:.3g} relative'}")
    return problems


def _hold_shapes(want: list[list[Any]], got: list[list[Any]]) -> None:
    for want_all, got_all in zip(want, got, strict=True):
        kinds = [{n: (a.dtype, a.shape) for n, a in _flat(side).items()} for side in (want_all, got_all)]
        if kinds[0] != kinds[1]:
            raise _Differs(f"random outputs of other types or shapes: {kinds[1]} instead of {kinds[0]}")


def _flat(outputs: Sequence[Any], prefix: str = "output") -> dict[str, np.ndarray[Any, Any]]:
    """Sequences as one array an item; an empty optional as an array of no items with a name of its own."""
    found: dict[str, np.ndarray[Any, Any]] = {}
    for i, item in enumerate(outputs):
        name = f"{prefix} {i}"
        if isinstance(item, list):
            found |= _flat(item, name) or {f"{name}, empty": np.empty(0)}
        else:
            found[name if item is not None else f"{name}, none"] = np.empty(0) if item is None else np.asarray(item)
    return found


def _widened(outputs: Sequence[Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Flat, with the types that numpy does not have as float32, which holds all their values."""
    arrays = _flat(outputs)
    return {
        n: a if a.dtype.isbuiltin == 1 or a.dtype.kind in "OUS" else a.astype(np.float32) for n, a in arrays.items()
    }


def brief(error: Exception) -> str:
    """What a runtime's message says, without the names and numbers of the case, so that equal reasons are counted."""
    text = str(getattr(error, "found", None) or error)
    return " ".join(_QUOTED.sub("_", text).split())[:160]


def _line(text: str) -> str:
    return " ".join(text.split())[:240]
