"""Docstrings as data: the summary, the body, and the sections that the docs pages are made of.

A section starts a paragraph with its name, either as ``*Match*: text ...`` (ends at the next section) or in
the Google form, ``Args:`` with an indented block or with text.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import dataclass

STARRED = re.compile(r"\*([A-Z][A-Za-z ]*)\*:\s*(.*)")
GOOGLE = re.compile(r"(Args|Attributes|Example|Raises|References|Returns|Yields):\s*(.*)")
ENTRY = re.compile(r"\*{0,2}([A-Za-z_][\w.]*): (.*)")


@dataclass(frozen=True)
class Docstring:
    """A docstring in parts, all of them Markdown.

    Args:
        summary: The first line.
        body: What stands before the first section, without the summary.
        sections: Name -> text, in order.
    """

    summary: str
    body: str
    sections: dict[str, str]


def parse(thing: object) -> Docstring:
    """The docstring of a module, class or function; its own, not an inherited one."""
    text = inspect.cleandoc(getattr(thing, "__doc__", None) or "")
    summary, _, rest = text.partition("\n")
    sections: dict[str, list[str]] = {"": []}
    current = ""
    for paragraph in re.split(r"\n\s*\n", rest.strip("\n")) if rest.strip() else ():
        first, _, more = paragraph.partition("\n")
        if found := STARRED.fullmatch(first):
            current = found[1]
            sections[current] = ["\n".join(part for part in (found[2], more) if part)]
        elif found := GOOGLE.fullmatch(first):
            current = found[1]
            sections[current] = [f"{found[2]}\n{more}".strip() if found[2] else _entries(inspect.cleandoc(more))]
        else:
            sections.setdefault(current, []).append(paragraph)
    body = _markdown(sections.pop(""))
    return Docstring(summary, body, {name: _markdown(paragraphs) for name, paragraphs in sections.items()})


def _entries(text: str) -> str:
    """``name: what it is`` lines as a list; other text as it is."""
    lines = []
    for line in text.splitlines():
        found = ENTRY.fullmatch(line)
        lines.append(f"- `{found[1]}`: {found[2]}" if found else f"  {line.strip()}")
    return "\n".join(lines) if lines and lines[0].startswith("- ") else text


def _markdown(paragraphs: list[str]) -> str:
    """Paragraphs joined; the indented paragraphs after ``::`` become one fenced block."""
    made: list[str] = []
    literal: list[str] = []
    after_colons = False
    for paragraph in [*paragraphs, ""]:
        if after_colons and paragraph.startswith(" "):
            literal.append(paragraph)
            continue
        if literal:
            made.append("```text\n" + textwrap.dedent("\n\n".join(literal)) + "\n```")
            literal = []
        after_colons = paragraph.endswith("::")
        if paragraph and paragraph != "::":
            made.append((paragraph[:-1] if after_colons else paragraph).replace("``", "`"))
    return "\n\n".join(made)
