"""Progress for work of more than two seconds: a bar on a terminal, nothing when piped or under ``--json``."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

DELAY_SECONDS = 2.0


class Progress:
    """A progress bar that appears after two seconds of work, on stderr, if that is a terminal.

    Args:
        label: What is being done.
        quiet: Never show anything.

    Use as a context manager; call ``update(fraction, note)`` as work goes on.
    """

    def __init__(self, label: str, *, quiet: bool = False) -> None:
        self.label = label
        self._enabled = not quiet and sys.stderr.isatty()
        self._started = time.monotonic()
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, fraction: float, note: str = "") -> None:
        """Show ``fraction`` (0..1) done and a short note."""
        if not self._enabled:
            return
        if self._bar is None:
            if time.monotonic() - self._started < DELAY_SECONDS:
                return
            self._open()
        assert self._bar is not None and self._task is not None
        self._bar.update(self._task, completed=fraction, description=f"{self.label} {note}".rstrip())

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(self.label, total=1.0)
        self._bar.start()
