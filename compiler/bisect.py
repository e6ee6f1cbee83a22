"""Find the first node whose result differs between two models that share value names.

Both models are run with intermediate values as extra outputs, a limited number of bytes at a time, in
the order in which the second model computes them. Values are matched by name; those that only one model
has are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tamis.compiler.compare_outputs import OutputDifference, compare_outputs
from tamis.compiler.graph_pass import Contract, Feeds
from tamis.compiler.target import Runner
from tamis.compiler.verify import CLOSE_TOLERANCE, Load

VALUES_AT_ONCE = 64
"""Intermediate values that one run exposes; bounds the memory."""


@dataclass(frozen=True)
class Divergence:
    """The first value that differs.

    Args:
        value: Its name.
        node, op_type: The node of the second model that computes it.
        error: Normwise relative error, or NaN where a problem (shape, NaN ...) hides it.
        problem: The difference that no tolerance covers, if it is one.
        agreed: The last value before it, in the second model's order, that both have and that agrees.
    """

    value: str
    node: str
    op_type: str
    error: float
    problem: str | None
    agreed: str | None

    def describe(self) -> str:
        """One clause."""
        much = self.problem or f"relative error {self.error:.3g}"
        before = f", after {self.agreed!r} still agrees" if self.agreed else ""
        return f"the first difference is in {self.value!r}, computed by node {self.node!r} ({self.op_type}): {much}{before}"

    def to_dict(self) -> dict[str, Any]:
        """As data, for ``--json``."""
        return asdict(self)


def first_divergence(
    before: ir.Model,
    after: ir.Model,
    feeds: Feeds,
    load: Load,
    *,
    contract: Contract = Contract.CLOSE,
    tolerance: float | None = None,
) -> Divergence | None:
    """The first value of ``after`` that differs from the value of the same name in ``before``.

    Args:
        feeds: The input on which they differ.
        load: Makes a runner that computes every node as it is written.
        contract: ``exact`` compares bits, the others with the tolerance of ``close``.
        tolerance: Normwise relative error that counts as different, instead of the contract's.

    Returns:
        None if no common value differs.

    Raises:
        RuntimeFailureError: One of the models fails with extra outputs.
    """
    differs = _test(contract, tolerance)
    agreed: str | None = None
    producers = {str(v.name): n for n in after.graph for v in n.outputs if v.name}
    for names in _chunks(_common(before, after)):
        want, got = (_run(m, names, feeds, load) for m in (before, after))
        for difference in compare_outputs({n: want[n] for n in names}, got):
            if differs(difference, want[difference.name]):
                node = producers[difference.name]
                return Divergence(
                    difference.name,
                    node.name or "",
                    node.op_type,
                    difference.tolerance_needed,
                    difference.problem,
                    agreed,
                )
            agreed = difference.name
    return None


def _test(contract: Contract, tolerance: float | None) -> Callable[[OutputDifference, np.ndarray[Any, Any]], bool]:
    def differs(difference: OutputDifference, want: np.ndarray[Any, Any]) -> bool:
        if contract is Contract.EXACT:
            return not difference.same_bits
        allowed = CLOSE_TOLERANCE.get(want.dtype.name, 0.0) if tolerance is None else tolerance
        return difference.problem is not None or not difference.tolerance_needed <= allowed

    return differs


def _common(before: ir.Model, after: ir.Model) -> Iterator[str]:
    """Names of tensors that nodes of both main graphs compute, in the order of ``after``."""
    known = {v.name for n in before.graph for v in n.outputs if v.name}
    for node in after.graph:
        for value in node.outputs:
            if value.name in known and not isinstance(value.type, ir.SequenceType | ir.OptionalType):
                yield str(value.name)


def _chunks(names: Iterator[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    for name in names:
        chunk.append(name)
        if len(chunk) == VALUES_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _run(model: ir.Model, names: list[str], feeds: Feeds, load: Load) -> dict[str, np.ndarray[Any, Any]]:
    exposed = model.clone()
    values = {v.name: v for n in exposed.graph for v in n.outputs}
    outputs = {v.name for v in exposed.graph.outputs}
    exposed.graph.outputs.extend(values[n] for n in names if n not in outputs)
    runner: Runner = load(exposed)
    return dict(runner(feeds))
