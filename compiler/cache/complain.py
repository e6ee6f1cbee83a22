"""Warnings of the cache: one line on stderr, each once in a process, since a build goes on without its cache."""

from __future__ import annotations

import sys

_said: set[str] = set()


def complain(subject: str, text: str) -> None:
    """Say once in this process what is wrong with ``subject``."""
    if subject not in _said:
        _said.add(subject)
        sys.stderr.write(f"tamis: warning: {text}\n")
