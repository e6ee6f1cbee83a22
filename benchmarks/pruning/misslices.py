"""``python -m benchmarks.pruning.misslices [MODELS]``: units taken out and the same units masked compute the same.

For each group of each model of the zoo and of the ``light_*`` topologies, a random part of its units: the model without
them, and the model in which nothing reads them, run on one sample with no optimizations. Then all groups at once, in each
view. One line a model. Where two outputs differ by more than 1e-4 of the norm of one, both models are run again in double
precision, which tells rounding from a wrong slice; status 1 if they still differ.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from benchmarks.light_models import names as light_names
from benchmarks.light_models import write_light_model
from benchmarks.pruning.both_ways import TOLERANCE, Outputs, difference, masked, random_units, removed, run
from benchmarks.pruning.in_double import run_in_double
from benchmarks.zoo.entries import MODULES, entry
from benchmarks.zoo.folder import build
from tamis.compiler.adversarial import random_feeds
from tamis.compiler.graph_pass import Feeds, PassContext
from tamis.compiler.model_file import load_model
from tamis.compiler.prepare import prepare
from tamis.compiler.recipe_file import load_recipe
from tamis.compiler.resolve_inputs import resolve_inputs
from tamis.passes.canonicalize.canonicalize import Canonicalize
from tamis.passes.pruning.axes.axis_graph import VIEWS, AxisGraph

TOGETHER: tuple[tuple[int, ...], ...] = ((0,), (1,), (2,), VIEWS, VIEWS)
"""Views in which all groups lose some of their units at once."""


@dataclass(frozen=True)
class Case:
    """A canonicalized model with one sample."""

    name: str
    model: ir.Model
    feeds: Feeds


@dataclass(frozen=True)
class Check:
    """What was taken out, and how far the two ways are apart.

    Args:
        what: Name of a group, or the views of all of them.
        error: Between the model without the units and the one that does not read them.
        in_double: The same in double precision, if ``error`` is too large.
        effect: Between the latter and the model as it is: below the tolerance, the check shows nothing.
    """

    what: str
    error: float
    effect: float
    in_double: float | None = None

    @property
    def good(self) -> bool:
        """Whether the two ways compute the same."""
        return (self.error if self.in_double is None else self.in_double) < TOLERANCE


def case_of(name: str, scratch: Path) -> Case:
    """A model of the zoo, or a topology with random weights."""
    if name in MODULES:
        made = prepare(load_recipe(build(entry(name)) / "recipe.yaml"))
        model, spec, feeds = made.model, made.spec, next(iter(made.samples(1)))
    else:
        write_light_model(name, scratch / f"{name}.onnx")
        model = load_model(scratch / f"{name}.onnx")
        spec = resolve_inputs(model, {}, None)
        feeds = next(random_feeds(spec, 0, 1))
    Canonicalize()(model, PassContext(inputs=spec))
    _drop_probabilities(model)
    return Case(name, model, feeds)


def _drop_probabilities(model: ir.Model) -> None:
    """Give out scores instead: probabilities near 0 and 1 hide what changes, and those near 0 are rounded coarsely."""
    for i, value in enumerate(model.graph.outputs):
        last = value.producer()
        if last is not None and last.op_type in ("Sigmoid", "Softmax") and last.inputs[0] is not None:
            model.graph.outputs[i] = last.inputs[0]


def checks(case: Case, alone: int) -> Iterator[Check]:
    """Each group by itself, at most ``alone`` of them, evenly chosen; then all at once."""
    plain = run(case.model, case.feeds)
    graph = AxisGraph(case.model, VIEWS)
    several = [i for i, group in enumerate(graph.groups) if group.units > 1]
    for number in several[:: max(1, -(-len(several) // alone))] if alone else ():
        yield _check(case, plain, graph, VIEWS, [number], graph.groups[number].name)
    for seed, views in enumerate(TOGETHER):
        graph = AxisGraph(case.model, views)
        several = [i for i, group in enumerate(graph.groups) if group.units > 1]
        if several:
            yield _check(case, plain, graph, views, several, f"all of views {views}", seed)


def _check(
    case: Case, plain: Outputs, graph: AxisGraph, views: Sequence[int], groups: list[int], what: str, seed: int = 0
) -> Check:
    chosen = random_units(graph, np.random.default_rng([seed, groups[0]]), groups)
    models = removed(case.model, chosen, views), masked(case.model, chosen, views)
    found, wanted = (run(model, case.feeds) for model in models)
    error, effect = difference(found, wanted), difference(plain, wanted)
    if error < TOLERANCE:
        return Check(what, error, effect)
    return Check(what, error, effect, difference(*(run_in_double(model, case.feeds) for model in models)))


def line_of(case: Case, alone: int) -> bool:
    """Print the line of a model, and one for each difference; whether there was none."""
    seconds = np.inf
    for _ in range(3):
        start = time.perf_counter()
        graph = AxisGraph(case.model, VIEWS)
        seconds = min(seconds, time.perf_counter() - start)
    found = list(checks(case, alone))
    units, frozen = sum(g.units for g in graph.groups), sum(f.units for f in graph.frozen)
    worst = max((check.error for check in found), default=0.0)
    unseen = sum(check.effect < TOLERANCE for check in found)
    print(
        f"{case.name:22} {len(case.model.graph):5} {len(graph.groups):6} {units:7} {frozen:7} {len(found):6} "
        f"{worst:9.1e} {unseen:7} {seconds:8.2f}",
        flush=True,
    )
    for check in found:
        if check.in_double is not None:
            print(f"    {check.what}: {check.error:.1e}, {check.in_double:.1e} in double precision", flush=True)
    return all(check.good for check in found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pruning.misslices", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="which ones (default: all)")
    parser.add_argument("--alone", type=int, default=1000, help="groups by themselves a model, at most")
    arguments = parser.parse_args()
    heads = ("nodes", "groups", "units", "frozen", "checks", "worst", "unseen", "graph, s")
    print(
        f"{'model':22} {heads[0]:>5} {heads[1]:>6} {heads[2]:>7} {heads[3]:>7} {heads[4]:>6} {heads[5]:>9} {heads[6]:>7} {heads[7]:>8}"
    )
    good = True
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.models or (*MODULES, *light_names()):
            good &= line_of(case_of(name, Path(scratch)), arguments.alone)
    sys.exit(not good)


if __name__ == "__main__":
    main()
