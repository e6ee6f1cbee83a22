"""Hold a pass to its numeric contract, on the user's samples and on adversarial inputs.

The reference is a runtime with its optimizations off. Its outputs for the model before a step are kept,
so a step costs one forward pass an input; when a step is accepted, its outputs become the reference of
the next. The outputs of the model as given are kept as well: lossy steps, and the lowered model in the
end, are compared with those.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from tamis.compiler.compare_outputs import OutputDifference, Outputs, compare_outputs
from tamis.compiler.conditioning import has_halves, moved_by_rounding, rounding_floors
from tamis.compiler.errors import ModelError, PostconditionError, RuntimeFailureError, TamisError
from tamis.compiler.graph_pass import Contract, Feeds
from tamis.compiler.model_file import check_valid
from tamis.compiler.target import Runner

Load = Callable[[ir.Model], Runner]

CLOSE_TOLERANCE = {"float64": 1e-9, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
"""Largest normwise relative error of a ``close`` step by dtype; integers and booleans must be equal."""
DEFAULT_MIN_SQNR = 10.0
"""What a lossy step must keep when the recipe has no limit, dB: noise of a tenth of the signal's power."""
LABELLED_MIN_SQNR = 0.0
"""The same where the recipe limits the drop of the task metric and has labelled samples: noise no larger than the signal."""


@dataclass(frozen=True)
class Case:
    """One input of the verification.

    Args:
        label: For messages, e.g. ``sample 3`` or ``zeros@N=8``.
        feeds: Input name -> array.
        user: One of the user's samples, not an adversarial input.
    """

    label: str
    feeds: Feeds
    user: bool


@dataclass(frozen=True)
class Verdict:
    """Whether a model keeps a contract.

    Args:
        ok: It does.
        contract: The contract.
        case, feeds: The input that fared worst, by label and value.
        expected, detail: What had to hold, and what was found there.
        tolerance_needed: Largest normwise relative error over the user's samples.
        adversarial_needed: The same over the adversarial inputs.
        sqnr_db: Smallest signal-to-noise ratio of the float outputs over the user's samples, dB, against the
            model as given.
        over_budget: Not ok only because the recipe's ``min_sqnr`` is not kept.
        refused: The runtime refused the model, or failed on an input.
        outputs: All outputs, in the order of the verifier's cases, for ``accept``.
    """

    ok: bool
    contract: Contract
    case: str
    feeds: Feeds
    expected: str
    detail: str
    tolerance_needed: float
    adversarial_needed: float
    sqnr_db: float
    over_budget: bool = False
    refused: bool = False
    outputs: Sequence[Outputs] = field(default=(), repr=False)


class Verifier:
    """Judges models against a reference model.

    Args:
        load: Makes a runner of the reference runtime with its optimizations off.
        model: The model as given.
        samples: The user's samples; the model must run on them.
        adversarial: (label, feeds) pairs; those that the model as given refuses are dropped and listed.
        min_sqnr: Limit of lossy steps, dB; None for the default.

    Attributes:
        dropped: Label of a dropped adversarial input -> why.

    Raises:
        RuntimeFailureError: The model as given fails on a sample of the user.
    """

    def __init__(
        self,
        load: Load,
        model: ir.Model,
        samples: Iterable[Feeds],
        adversarial: Iterable[tuple[str, Feeds]] = (),
        *,
        min_sqnr: float | None = None,
    ) -> None:
        self.load = load
        self.min_sqnr = min_sqnr
        self.dropped: dict[str, str] = {}
        self.cases: list[Case] = []
        self._given = model
        self._original: list[Outputs] = []
        runner = load(model)
        users = (Case(f"sample {i + 1}", feeds, True) for i, feeds in enumerate(samples))
        others = (Case(label, feeds, False) for label, feeds in adversarial)
        for case in itertools.chain(users, others):
            try:
                outputs = runner(case.feeds)
            except TamisError as error:
                if case.user:
                    raise
                self.dropped[case.label] = str(error)
                continue
            self.cases.append(case)
            self._original.append(outputs)
        self._reference = list(self._original)

    def check(self, model: ir.Model, contract: Contract) -> Verdict:
        """Judge the model after a step against the model before it (lossy: against the model as given)."""
        try:
            runner = self.load(model)
        except RuntimeFailureError as error:
            return self._refused(contract, self.cases[0], str(error))
        if contract is Contract.EXACT and has_halves(model):
            contract = Contract.CLOSE
        return self._judge(runner, contract, self._original if contract is Contract.LOSSY else self._reference)

    def check_runner(self, runner: Runner, contract: Contract) -> Verdict:
        """Judge a lowered model against the model as given."""
        return self._judge(runner, contract, self._original)

    def sqnr_db(self, runner: Runner) -> float:
        """Signal-to-noise ratio of a runner over the user's samples, of the worst output, dB."""
        return self._sqnr(
            [
                runner(case.feeds) if case.user else outputs
                for case, outputs in zip(self.cases, self._original, strict=True)
            ]
        )

    def accepted(self, count: int) -> list[tuple[Feeds, Outputs]]:
        """The first ``count`` samples of the user with the reference outputs of the model accepted last."""
        users = [(c.feeds, o) for c, o in zip(self.cases, self._reference, strict=True) if c.user]
        return users[:count]

    def accept(self, verdict: Verdict) -> None:
        """The outputs of the judged model become the reference of the next step."""
        self._reference = list(verdict.outputs)

    def accept_model(self, model: ir.Model) -> None:
        """As ``accept``, for a model that was judged before: one forward pass an input."""
        runner = self.load(model)
        self._reference = [runner(case.feeds) for case in self.cases]

    def _judge(self, runner: Runner, contract: Contract, reference: Sequence[Outputs]) -> Verdict:
        found: list[Outputs] = []
        for case in self.cases:
            try:
                found.append(runner(case.feeds))
            except RuntimeFailureError as error:
                return self._refused(contract, case, str(error))
        differences = [compare_outputs(want, got) for want, got in zip(reference, found, strict=True)]
        judge = {Contract.EXACT: self._exact, Contract.CLOSE: self._close, Contract.LOSSY: self._lossy}[contract]
        return judge(differences, reference, found)

    def _exact(
        self, differences: list[list[OutputDifference]], reference: Sequence[Outputs], found: list[Outputs]
    ) -> Verdict:
        wrong = [(c, d) for c, ds in zip(self.cases, differences, strict=True) for d in ds if not d.same_bits]
        case, worst = wrong[0] if wrong else (self.cases[0], differences[0][0])
        return Verdict(
            ok=not wrong,
            contract=Contract.EXACT,
            case=case.label,
            feeds=case.feeds,
            expected=f"the same bits in output {worst.name!r}",
            detail=worst.problem
            or f"a largest difference of {worst.max_abs:.3g} ({worst.tolerance_needed:.3g} relative)",
            tolerance_needed=self._needed(differences, user=True),
            adversarial_needed=self._needed(differences, user=False),
            sqnr_db=self._sqnr(found),
            outputs=found,
        )

    def _close(
        self, differences: list[list[OutputDifference]], reference: Sequence[Outputs], found: list[Outputs]
    ) -> Verdict:
        margin, where, allowed_there = -1.0, (0, 0), 0.0
        floors = rounding_floors(o for case, o in zip(self.cases, self._original, strict=True) if case.user)
        for i, case in enumerate(self.cases):
            for k, difference in enumerate(differences[i]):
                allowed = CLOSE_TOLERANCE.get(reference[i][difference.name].dtype.name, 0.0)
                if not case.user and not difference.tolerance_needed <= allowed:
                    given = self.load(self._given)
                    allowed = max(allowed, moved_by_rounding(given, case.feeds, self._original[i], difference.name))
                excess = _excess(difference, allowed, floors.get(difference.name, 0.0))
                if excess > margin:
                    margin, where, allowed_there = excess, (i, k), allowed
        case, worst = self.cases[where[0]], differences[where[0]][where[1]]
        return Verdict(
            ok=margin <= 1,
            contract=Contract.CLOSE,
            case=case.label,
            feeds=case.feeds,
            expected=f"output {worst.name!r} within {allowed_there:.3g} (normwise relative)",
            detail=worst.problem or f"{worst.tolerance_needed:.3g}",
            tolerance_needed=self._needed(differences, user=True),
            adversarial_needed=self._needed(differences, user=False),
            sqnr_db=self._sqnr(found),
            outputs=found,
        )

    def _lossy(
        self, differences: list[list[OutputDifference]], reference: Sequence[Outputs], found: list[Outputs]
    ) -> Verdict:
        users = [i for i, case in enumerate(self.cases) if case.user]
        broken = [(self.cases[i], d) for i in users for d in differences[i] if d.problem is not None]
        limit = DEFAULT_MIN_SQNR if self.min_sqnr is None else self.min_sqnr
        sqnr = self._sqnr(found)
        case = broken[0][0] if broken else self.cases[users[0]]
        return Verdict(
            ok=not broken and sqnr >= limit,
            contract=Contract.LOSSY,
            case=case.label,
            feeds=case.feeds,
            expected=f"finite outputs with a signal-to-noise ratio of at least {limit:g} dB",
            detail=f"output {broken[0][1].name!r}: {broken[0][1].problem}" if broken else f"{sqnr:.3g} dB",
            tolerance_needed=self._needed(differences, user=True),
            adversarial_needed=self._needed(differences, user=False),
            sqnr_db=sqnr,
            over_budget=not broken and sqnr < limit and self.min_sqnr is not None,
            outputs=found,
        )

    def _needed(self, differences: list[list[OutputDifference]], *, user: bool) -> float:
        """Largest normwise relative error over one kind of inputs; infinite where no tolerance helps."""
        values = [
            d.tolerance_needed for c, ds in zip(self.cases, differences, strict=True) if c.user is user for d in ds
        ]
        return float(np.max(np.nan_to_num(values, nan=np.inf, posinf=np.inf), initial=0.0))

    def _sqnr(self, found: Sequence[Outputs]) -> float:
        """Over all user samples together, the worst float output (any output if none is a float), dB."""
        names = [n for n, a in self._original[0].items() if a.dtype.kind == "f"] or list(self._original[0])
        ratios = []
        for name in names:
            pairs = [
                (w[name], g.get(name)) for c, w, g in zip(self.cases, self._original, found, strict=True) if c.user
            ]
            if any(g is None or g.shape != w.shape for w, g in pairs):
                return -np.inf
            want, got = (np.concatenate([np.ravel(np.asarray(p[side])) for p in pairs]) for side in (0, 1))
            ratios.append(compare_outputs({name: want}, {name: got})[0].sqnr_db)
        return min(ratios)

    def _refused(self, contract: Contract, case: Case, detail: str) -> Verdict:
        never = float("inf")
        wanted = "a model that runs"
        return Verdict(False, contract, case.label, case.feeds, wanted, detail, never, never, -never, refused=True)


def _excess(difference: OutputDifference, allowed: float, floor: float) -> float:
    """How many times over the tolerance; infinite for what no tolerance covers."""
    if difference.problem is not None:
        return np.inf
    if difference.max_abs <= floor:
        return 0.0
    if difference.tolerance_needed <= allowed:
        return difference.tolerance_needed / allowed if allowed else 0.0
    return difference.tolerance_needed / allowed if allowed else np.inf


def check_ir(model: ir.Model, where: str) -> None:
    """The ONNX checker on the model after a step.

    Raises:
        PostconditionError: The step left an invalid model.
    """
    try:
        check_valid(model, where)
    except ModelError as error:
        raise PostconditionError(
            "the pass left an invalid model", where=where, found=error.found, fix="report this defect of the pass"
        ) from error
