"""Run an analysis that is found by its name, on a model in the form that compiling gives it before lossy steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tamis.compiler.adversarial import random_feeds
from tamis.compiler.analysis.finding import Analyse, Finding
from tamis.compiler.analysis.subject import Subject, name_nodes, open_subject
from tamis.compiler.data_source import open_samples
from tamis.compiler.errors import PreconditionError, TargetUnavailableError, UsageError
from tamis.compiler.feeds import SEED
from tamis.compiler.graph_pass import Feeds, PassContext
from tamis.compiler.machine import find_machine
from tamis.compiler.model_file import load_model
from tamis.compiler.recipe import DataSource
from tamis.compiler.registry import GROUPS, REFERENCE_RUNTIME, lookup, pass_class, runtime_class
from tamis.compiler.target import Target

FUSIONS = "fuse"
RANDOM_SAMPLES = 8


def run_analysis(
    name: str,
    path: Path,
    *,
    shapes: Sequence[str] = (),
    inputs: Sequence[str] = (),
    data: Path | None = None,
    samples: int | None = None,
    threads: int | None = None,
    random_samples: bool = True,
    progress: Callable[[float, str], None],
) -> Finding:
    """The finding of the analysis called ``name``.

    Args:
        name: In the registry.
        path: An ONNX file.
        shapes: ``NAME=SIZE,SIZE,...`` of dynamic inputs.
        inputs: A single sample, as for ``tamis run``.
        data: An .npz file with many samples, or a folder of files with one each.
        samples: Use only the first so many of ``data``.
        threads: Of the runtime; None for the machine's default.
        random_samples: Without ``inputs`` and ``data``, give the analysis seeded random samples; else none, and sizes of
            inputs may stay open.
        progress: Gets (fraction done, a note).

    Raises:
        UsageError: Both ``inputs`` and ``data`` are given.
        ModelError, DataError, RecipeError: Files cannot be read, or do not fit; sizes of inputs are not known.
        RegistryError: There is no such analysis.
        TargetUnavailableError: The runtime is not installed.
    """
    analyse: Analyse = lookup("analyses", name)
    if data is not None and inputs:
        raise UsageError("both --input and --data are given", fix="leave one of them out")
    stream: Callable[[], Iterator[Feeds]] | None = None
    if data is not None:
        source = DataSource.model_validate({"folder" if data.is_dir() else "npz": str(data.absolute())})
        source = source.model_copy(update={"samples": samples})
        model = load_model(path)
        values = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
        stream = open_samples(source, Path.cwd(), values).__iter__
        subject = open_subject(path, shapes or _common_shapes(stream()))
    else:
        subject = open_subject(path, shapes, inputs)
        if inputs or random_samples:
            if subject.feeds is None:
                raise UsageError("the sizes of the inputs are not known", where=str(path), fix=str(subject.hint))
            stream = partial(_given, subject, bool(inputs))
    target = _target(threads)
    context = PassContext(inputs=subject.spec, target=target, samples=stream, seed=SEED)
    _fuse(subject, context)
    found = analyse(subject.model, context, progress)
    return (
        replace(found, summary={"sizes": f"not all known; {subject.hint}", **found.summary}) if subject.hint else found
    )


def _common_shapes(samples: Iterator[Feeds]) -> list[str]:
    """``NAME=SIZE,...`` of the inputs, if all samples have the same sizes and none is a single number."""
    found = {tuple((name, array.shape) for name, array in feeds.items()) for feeds in samples}
    shapes = found.pop() if len(found) == 1 else ()
    return [f"{name}={','.join(map(str, sizes))}" for name, sizes in shapes] if all(s for _, s in shapes) else []


def _given(subject: Subject, is_given: bool) -> Iterator[Feeds]:
    assert subject.feeds is not None and subject.spec is not None
    return iter((subject.feeds,)) if is_given else random_feeds(subject.spec, SEED, RANDOM_SAMPLES)


def _target(threads: int | None) -> Target:
    machine = find_machine("host")
    cls = runtime_class(REFERENCE_RUNTIME)
    runtime = cls(cls.options_type.model_validate({"threads": threads}))
    if reason := runtime.unavailable(machine):
        raise TargetUnavailableError(reason, where=f"runtime {runtime.name}")
    return Target("host", machine, runtime)


def _fuse(subject: Subject, context: PassContext) -> None:
    """The lossless fusions, apart from those that the model does not meet the conditions of."""
    for name in GROUPS[FUSIONS]:
        step = pass_class(name)()
        try:
            step.requires(subject.model, context)
        except PreconditionError:
            continue
        step(subject.model, context)
    name_nodes(subject.model)
