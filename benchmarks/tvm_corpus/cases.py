"""All forms of all cases: those of the suite, and a few in the old forms of operators that it no longer holds."""

from __future__ import annotations

from functools import cache

from benchmarks.corpus.cases import load_cases
from benchmarks.tvm_corpus.forms import Form, forms
from benchmarks.tvm_corpus.own_cases import own_forms


@cache
def load_forms() -> tuple[Form, ...]:
    """In the order of their names."""
    suite = (form for case in load_cases() if case.name.startswith("node/") for form in forms(case))
    return (*suite, *own_forms())
