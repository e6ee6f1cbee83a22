"""Rows made from a pydantic model."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from tamis.compiler.fields_table import Row, markdown, rows


class Inner(BaseModel):
    """A model in a model."""

    size: int = Field(3, ge=1, lt=10, description="How large.")


class Outer(BaseModel):
    """A model."""

    name: str = Field(description="What it is called.")
    kind: Literal["a", "b"] = Field("a", description="Which.")
    ratio: float | None = Field(None, gt=0, le=1, description="How much.")
    names: tuple[str, ...] = Field(("x",), description="Several.")
    flag: bool = False
    inner: Inner = Inner()


def test_types_bounds_and_defaults() -> None:
    assert rows(Outer) == [
        Row("name", "text", "required", "What it is called."),
        Row("kind", "`a` or `b`", '"a"', "Which."),
        Row("ratio", "number, > 0, <= 1 or null", "null", "How much."),
        Row("names", "list of text", '["x"]', "Several."),
        Row("flag", "true or false", "false", ""),
        Row("inner.size", "integer, >= 1, < 10", "3", "How large."),
    ]


def test_cells_cannot_break_the_table() -> None:
    assert markdown(("a", "b"), [("x|y", "1\n2")]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 2 |"
