"""YAML text: positions, the core schema of YAML 1.2, limits, and every way to be wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.compiler.errors import RecipeError
from tamis.compiler.recipe_tree import MAX_DEPTH
from tamis.compiler.recipe_yaml import MAX_NODES, parse, parse_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("yes", "yes"),
        ("true", True),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("017", 17),
        ("0x1F", 31),
        ("0o17", 15),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("[1, -2.0, a]", [1, -2.0, "a"]),
        ("!!str 12", "12"),
        ("<<", "<<"),
        (r'"\ud83d\ude00"', "\U0001f600"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    found = parse_value(text, "t").plain()
    assert found == value
    assert type(found) is type(value)


def test_every_value_knows_its_place() -> None:
    tree = parse("a: 1\nb:\n  - x\n  - {c: 2}\n", "f.yaml")
    c = tree.mapping["b"].items[1].mapping["c"]
    assert (tree.mapping["a"].where, c.where, c.key_where) == ("f.yaml:1:4", "f.yaml:4:9", "f.yaml:4:6")


def test_an_alias_is_the_same_value_again() -> None:
    assert parse("a: &x [1, 2]\nb: *x\n", "t").plain() == {"a": [1, 2], "b": [1, 2]}


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


BAD = {
    "empty": ("", "t", "the recipe is empty"),
    "comment only": ("# nothing\n", "t", "the recipe is empty"),
    "a list": ("- a\n", "t:1:1", 'this is not a recipe; expected a mapping (key: value), found ["a"]'),
    "a text": ("hello\n", "t:1:1", "this is not a recipe"),
    "a tab": ("a:\n\tb: 1\n", "t:2:1", "indent with spaces, not tabs"),
    "unclosed": ("a: [1, 2\n", "t:2:1", "this is not valid YAML"),
    "two documents": ("a: 1\n---\nb: 2\n", "t:2:1", "one document per file"),
    "duplicate key": ("a: 1\nb: 2\na: 3\n", "t:3:1", "the key 'a' is given twice; found it is first given at t:1:1"),
    "number as key": ("1: a\n", "t:1:1", "a key must be a name; found '1'"),
    "true as key": ("true: a\n", "t:1:1", "a key must be a name; found 'true'"),
    "list as key": ("[a]: b\n", "t:1:1", "a key must be a name; found a list or a mapping"),
    "python tag": (
        "a: !!python/object/apply:os.system [ls]\n",
        "t:1:4",
        "!!python/object/apply:os.system is not allowed",
    ),
    "own tag": ("a: !secret b\n", "t:1:4", "the tag !secret is not allowed"),
    "set": ("a: !!set {b}\n", "t:1:4", "the tag !!set is not allowed"),
    "binary": ("a: !!binary aGk=\n", "t:1:4", "the tag !!binary is not allowed"),
    "map tag on a text": ("a: !!map b\n", "t:1:4", "the tag !!map is not allowed"),
    "wrong int tag": ("a: !!int b\n", "t:1:4", "the tag !!int does not fit its value; found 'b'"),
    "wrong bool tag": ("a: !!bool b\n", "t:1:4", "the tag !!bool does not fit its value"),
    "unknown alias": ("a: *b\n", "t:1:4", "undefined alias"),
    "infinity": ("a: .inf\n", "t:1:4", "the number is not finite"),
    "nan": ("a: .nan\n", "t:1:4", "the number is not finite"),
    "overflow": ("a: 1e999\n", "t:1:4", "the number is not finite"),
    "huge integer": (f"a: {'9' * 5000}\n", "t:1:4", "the number is too large"),
    "64-bit integer": (f"a: {2**63}\n", "t:1:4", "the number is too large"),
    "NUL": ("a: b\0c\n", "t:1:5", "a character that YAML does not allow; found U+0000"),
    "NUL by escape": ('a: "b\\0c"\n', "t:1:4", "a character that is not allowed"),
    "surrogate by escape": ('a: "\\ud800"\n', "t:1:4", "a character that is not allowed"),
    "escape out of range": ('a: "\\UFFFFFFFF"\n', "t", "this is not valid YAML"),
    "deep": ("a: " + "[" * 1000 + "]" * 1000, f"t:1:{MAX_DEPTH + 3}", f"more than {MAX_DEPTH} levels"),
    "many": ("a: [" + "1," * MAX_NODES + "]", "t", f"more than {MAX_NODES} values"),
    "billion laughs": (laughs(9), "t", f"found more than {MAX_NODES} values after aliases"),
    "alias of itself": ("a: &a [*a]\n", "t", f"found more than {MAX_DEPTH} levels after aliases"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_text_is_refused_at_its_place(case: str) -> None:
    text, where, message = BAD[case]
    with pytest.raises(RecipeError) as caught:
        parse(text, "t")
    assert str(caught.value).startswith(where + (":" if where == "t" else ": "))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(deadline=None, database=None)
@given(st.one_of(st.text(max_size=60), st.text("a:-[]{}&*!|>'\"#%@,? \n\t\\0", max_size=40)))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        plain: Any = parse_value(text, "t").plain()
    except RecipeError:
        return
    assert plain is None or isinstance(plain, str | int | float | bool | list | dict)
