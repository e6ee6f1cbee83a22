"""All forms of all cases: those of the suite, and a few in the old forms of operators that it no longer holds."""

from __future__ import annotations

from functools import cache

from benchmarks.corpus.cases import load_cases
from benchmarks.tvm_corpus.forms import Form, forms
from benchmarks.tvm_corpus.own_cases import own_forms


@cache
def load_forms() -> tuple[Form, ...]:
    """In the order of their names, the own ones last."""
    suite = (form for case in load_cases() if case.name.startswith("node/") for form in forms(case))
    return (*suite, *own_forms())


def form_named(name: str) -> Form:
    """One form, without making all others.

    Raises:
        StopIteration: There is none of that name.
    """
    return next(form for form in _of_case(name.partition(" ")[0]) if form.name == name)


@cache
def _of_case(name: str) -> tuple[Form, ...]:
    if name.startswith("own/"):
        return tuple(form for form in own_forms() if form.case.name == name)
    return tuple(forms(next(case for case in load_cases() if case.name == name)))
