"""Any recipe, once resolved and written, is read as the same recipe; the schema accepts what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tamis.compiler.recipe_file import dump_recipe, load_recipe, resolved
from tamis.compiler.recipe_schema import recipe_schema
from tests.toy_registry import toys

__all__ = ["toys"]

text = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=12)
words = st.one_of(
    text, st.sampled_from(["off", "1e-3", "0x1", "1_0", "yes", "~", "null", "2026-01-01", "=", "a: b", "#"])
)
positive = st.floats(1e-9, 1e12)
sizes = st.integers(1, 2**31 - 1)


@st.composite
def input_sections(draw: st.DrawFn) -> dict[str, Any]:
    dims = draw(st.lists(st.sampled_from(["N", "H", "batch_1"]), max_size=2, unique=True))
    shape = draw(st.permutations([*dims, *draw(st.lists(sizes, max_size=3))]))
    ranges = {dim: [2, 2 + len(dim)] for dim in dims}
    bounds = draw(st.none() | st.tuples(st.floats(-10, 0), st.floats(0, 10)).map(list))
    return {"shape": shape, **ranges, **({} if bounds is None else {"range": bounds})}


def sources(metric: bool) -> st.SearchStrategy[dict[str, Any]]:
    kinds = st.sampled_from(["npz", "folder", "images", "csv"])
    optional: dict[str, st.SearchStrategy[Any]] = {
        "samples": sizes,
        "mean": st.lists(st.floats(-300, 300), min_size=1, max_size=3),
        "scale": st.lists(positive, min_size=1, max_size=3),
    }
    if metric:
        optional["metric"] = st.sampled_from(["accuracy", "iou"])
    rest = st.fixed_dictionaries({}, optional=optional)
    return st.tuples(kinds, words, rest).map(lambda parts: {parts[0]: parts[1], **parts[2]})


quantize = st.fixed_dictionaries(
    {},
    optional={
        "weights": st.sampled_from(["int8", "uint8"]),
        "ratio": st.floats(0, 1),
        "channels": st.lists(st.integers(-(2**62), 2**62), max_size=3),
        "note": st.none() | words,
        "symmetric": st.booleans(),
        "guard": st.sampled_from(["measure", "off"]),
        "on_violation": st.sampled_from(["error", "skip"]),
    },
)
steps = st.lists(
    st.sampled_from(["canonicalize", "fold-conv-affine"]) | quantize.map(lambda given: {"quantize-dynamic": given}),
    max_size=4,
)
targets = st.fixed_dictionaries(
    {"machine": st.sampled_from(["host", "cortex-a72"])},
    optional={
        "runtime": st.just("onnxruntime"),
        "tune": st.just({}) | positive.map(lambda seconds: {"seconds": seconds}),
        "passes": steps,
    },
)


@st.composite
def named_targets(draw: st.DrawFn) -> list[Any]:
    drawn = draw(st.lists(targets, min_size=1, max_size=3))
    for i, target in enumerate(drawn):
        target["name"] = f"t{i}"
        if "runtime" in target and draw(st.booleans()):
            target["options"] = {"threads": draw(sizes)}
    return [*drawn, "host"]


recipes = st.fixed_dictionaries(
    {"version": st.just(1), "passes": steps},
    optional={
        "model": words,
        "inputs": st.dictionaries(words, input_sections().filter(lambda s: "H" not in s), max_size=2),
        "data": st.fixed_dictionaries({}, optional={"calibration": sources(False), "evaluation": sources(True)}),
        "targets": named_targets(),
        "budget": st.fixed_dictionaries(
            {},
            optional={
                "accuracy": st.fixed_dictionaries({}, optional={"max_drop": positive, "min_sqnr": st.floats(-50, 50)}),
                "latency": st.fixed_dictionaries({}, optional={"max_ms": positive, "p": st.floats(1, 99)}),
                "size": st.fixed_dictionaries({}, optional={"max_mb": positive}),
            },
        ),
        "seed": st.integers(0, 2**62),
    },
)


@cache
def validator() -> Any:
    return jsonschema.Draft7Validator(recipe_schema())


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.usefixtures("toys")
def test_written_and_read_again(folder: Path) -> None:
    @settings(max_examples=150, deadline=None, database=None)
    @given(recipes)
    @example({"version": 1, "passes": [], "model": "a\x85\u2028\u2029\rb"})
    def holds(data: dict[str, Any]) -> None:
        first, second = folder / "first.yaml", folder / "second.yaml"
        first.write_text(json.dumps(data), encoding="utf-8")
        recipe = load_recipe(first).recipe
        written = dump_recipe(recipe)
        second.write_text(written, encoding="utf-8")
        again = load_recipe(second).recipe
        assert again == recipe
        assert dump_recipe(again) == written
        json.dumps(resolved(recipe), allow_nan=False)
        validator().validate(data)
        validator().validate(resolved(recipe))

    try:
        holds()
    finally:
        validator.cache_clear()
