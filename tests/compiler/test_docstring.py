"""Docstrings in parts."""

from __future__ import annotations

from tamis.compiler.docstring import parse


def example() -> None:
    """What it is.

    More about ``it``, a sketch::

        a -> b

        c -> d

    after the sketch.

    *Match*: one thing
    or two.

    *Preserves*: bits.

    Still preserved.

    Args:
        x: An input, shape
            (N, C).
        y: Another.

    References:
        A paper, section 2.
    """


def bare() -> None:
    """Only this."""


def nothing() -> None: ...


def test_summary_and_body() -> None:
    found = parse(example)
    assert found.summary == "What it is."
    assert found.body == "More about `it`, a sketch:\n\n```text\na -> b\n\nc -> d\n```\n\nafter the sketch."


def test_sections_of_both_forms() -> None:
    found = parse(example)
    assert list(found.sections) == ["Match", "Preserves", "Args", "References"]
    assert found.sections["Match"] == "one thing\nor two."
    assert found.sections["Preserves"] == "bits.\n\nStill preserved."
    assert found.sections["Args"] == "- `x`: An input, shape\n  (N, C).\n- `y`: Another."
    assert found.sections["References"] == "A paper, section 2."


def test_a_lone_pair_of_colons_is_not_shown() -> None:
    found = parse(type("Sketch", (), {"__doc__": "Sum.\n\n::\n\n    a -> b\n"}))
    assert found.body == "```text\na -> b\n```"


def test_a_section_may_start_on_the_line_of_its_name() -> None:
    found = parse(type("Cited", (), {"__doc__": "Sum.\n\nReferences: A paper,\nsection 2.\n"}))
    assert found.sections == {"References": "A paper,\nsection 2."}


def test_one_line_and_none() -> None:
    assert (parse(bare).summary, parse(bare).body, parse(bare).sections) == ("Only this.", "", {})
    assert parse(nothing).summary == ""


def test_an_inherited_docstring_is_not_ones_own() -> None:
    class Base:
        """Of the base."""

    class Child(Base):
        pass

    assert parse(Child).summary == ""
