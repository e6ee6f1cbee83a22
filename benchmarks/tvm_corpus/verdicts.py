"""What the pre-check says of a form, against what TVM did with it."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from benchmarks.corpus.steps import StepFailure
from benchmarks.tvm_corpus.forms import Form
from benchmarks.tvm_corpus.normalize import normalized
from benchmarks.tvm_corpus.processes import Outcome
from tamis.targets.tvm.precheck import unsupported_nodes

VALUES = {
    "own/.*_infinite": "of nothing but infinities the largest is the largest finite number",
    "own/.*_nan": "NaN is lost",
    "node/test_reduce_prod_.*int": "an overflow of integers wraps around, in ONNX Runtime it saturates",
}
"""What TVM computes wrong for some values only, so that the model does not show it: names of forms -> why."""


_UNNAMED = re.compile(r"^.*? \((?=[\w:.]+\): )")


class Verdict(enum.StrEnum):
    """How the two agree."""

    RIGHT = "right"
    REFUSED = "refused beforehand"
    OVERCAUTIOUS = "refused although right"
    FAILS = "FAILS although not refused"
    WRONG = "WRONG although not refused"
    VALUES = "wrong for values nobody can foresee"
    NO_REFERENCE = "onnxruntime cannot run it either"


@dataclass(frozen=True)
class Result:
    """Verdict on one form.

    Args:
        form: What was tried.
        verdict: How the pre-check and TVM agree.
        reason: Why the pre-check refuses it, or how TVM fails.
    """

    form: Form
    verdict: Verdict
    reason: str = ""


def judge(form: Form, outcome: Outcome) -> Result:
    """Hold the pre-check against what TVM did."""
    if outcome.stage == "no reference":
        return Result(form, Verdict.NO_REFERENCE)
    reasons = refusals(form)
    if reasons:
        right = outcome.stage == "right"
        return Result(form, Verdict.OVERCAUTIOUS if right else Verdict.REFUSED, "; ".join(reasons))
    if outcome.stage == "right":
        return Result(form, Verdict.RIGHT)
    if outcome.stage != "wrong":
        return Result(form, Verdict.FAILS, f"{outcome.stage}: {outcome.reason}")
    known = next((why for names, why in VALUES.items() if re.match(names, form.name)), None)
    return Result(form, Verdict.WRONG, outcome.reason) if known is None else Result(form, Verdict.VALUES, known)


def refusals(form: Form) -> list[str]:
    """What the pre-check says, each operator and reason once."""
    try:
        proto = normalized(form.build().model)
    except StepFailure:
        return []
    lines = unsupported_nodes(ir.from_proto(onnx.shape_inference.infer_shapes(proto)))
    return sorted({_UNNAMED.sub("", line, count=1) for line in lines})
