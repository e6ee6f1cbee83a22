"""Why a pass leaves places of a model alone: what it would do there, and its near misses with their reasons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tamis.compiler.analysis.subject import Subject
from tamis.compiler.graph_pass import GraphPass, PassContext, Skip
from tamis.compiler.machine import find_machine
from tamis.compiler.machine_data import Machine
from tamis.compiler.registry import pass_class, runtime_class, table, unknown
from tamis.compiler.target import Target


@dataclass(frozen=True)
class WhyNot:
    """What a pass would do to a model.

    Args:
        counts: What it would do how often.
        misses: Places that it almost changed, each with the reason.
    """

    counts: dict[str, int]
    misses: tuple[Skip, ...]

    def by_reason(self) -> dict[str, list[str]]:
        """Reason -> names of nodes, the most frequent reason first."""
        groups: dict[str, list[str]] = {}
        for skip in self.misses:
            groups.setdefault(skip.reason, []).append(skip.node)
        return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def find_pass(name: str, machine: Machine) -> tuple[GraphPass[Any], Target]:
    """A pass with default options, and the target that it sees: a registered one, or one of a runtime's legalization.

    Args:
        name: Of the pass.
        machine: Whose legalizations count; its preferred runtime is the target of registered passes.

    Raises:
        RegistryError: There is no such pass; the nearest name is given.
    """
    if name in table("passes"):
        runtime = runtime_class(machine.runtimes[0])()
        return pass_class(name)(), Target(machine.name, machine, runtime)
    known = set(table("passes"))
    for legal, target in _legalizations(machine):
        if legal.name == name:
            return legal, target
        known.add(legal.name)
    raise unknown("pass", name, known)


def _legalizations(machine: Machine) -> Iterator[tuple[GraphPass[Any], Target]]:
    for runtime_name in table("targets"):
        target = Target(machine.name, machine, runtime_class(runtime_name)())
        for legal in target.runtime.legalize_passes(machine):
            yield legal, target


def why_not(subject: Subject, name: str) -> WhyNot:
    """Try the pass ``name`` on copies of the model.

    Raises:
        RegistryError: There is no such pass.
        PreconditionError: The model lacks what the pass needs.
    """
    found, target = find_pass(name, find_machine("host"))
    context = PassContext(inputs=subject.spec, target=target)
    done = found(subject.model.clone(), context)
    return WhyNot({what: n for what, n in done.counts.items() if n}, found.near_misses(subject.model, context))
