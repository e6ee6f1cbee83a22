"""A lowered model in a process of its own, here or emulated: a crash there is an error here."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tamis.compiler.errors import LoweringError, RuntimeFailureError
from tamis.compiler.feed_check import Input, check_feeds
from tamis.compiler.graph_pass import Feeds
from tamis.targets.links import serve_model
from tamis.targets.links.attached_process import DESCRIPTOR, AttachedProcess

PROGRAM = Path(serve_model.__file__).resolve()
SECONDS = 600.0
"""Time limit of an answer; a call that is timed gets it for each ten calls."""
LONGEST_WAIT = 86_400.0
LONGEST_REASON = 400


class RemoteModel:
    """Call it with a dict of arrays, get a dict of arrays; the model runs in another process.

    The process lives as long as this object, and ends when it is gone, when this process exits or is killed, and when
    a request is interrupted or takes too long. Calls from several threads wait for each other.

    Args:
        kind: One of ``serve_model.KINDS``.
        path: The lowered model.
        settings: JSON data for the class of that kind.
        command: What runs ``program``; default: this interpreter.
        environment: All environment variables of the process; default: ours.
        where: Names the model in errors; default: its path.
        seconds: Time limit of an answer.
        program: The program that answers, called as ``serve_model``.

    Attributes:
        input_names, output_names: In the model's order.

    Raises:
        LoweringError: The model cannot be loaded.
    """

    def __init__(
        self,
        kind: str,
        path: Path,
        settings: Mapping[str, Any],
        *,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        where: str | None = None,
        seconds: float = SECONDS,
        program: Path = PROGRAM,
    ) -> None:
        self._kind = kind
        self._where = where or str(path)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._timed: Feeds | None = None
        self._pauses = program == PROGRAM
        arguments = (str(program), DESCRIPTOR, kind, str(path.absolute()), json.dumps(dict(settings)))
        try:
            self._process = AttachedProcess(
                (*(command or (sys.executable,)), *arguments), _ours() if environment is None else environment
            )
        except OSError as error:
            raise LoweringError("its process cannot be started", where=self._where, found=str(error)) from error
        try:
            described, _ = self._ask({"request": "describe"}, "was loaded")
        except RuntimeFailureError as error:
            self.close()
            raise LoweringError(error.message, where=self._where, found=error.found) from error
        self._inputs: tuple[Input, ...] = tuple((n, d, tuple(s)) for n, d, s in described["inputs"])
        self.input_names: tuple[str, ...] = tuple(name for name, _, _ in self._inputs)
        self.output_names: tuple[str, ...] = tuple(described["outputs"])

    def __call__(self, feeds: Feeds) -> dict[str, np.ndarray[Any, Any]]:
        """Run once.

        Raises:
            DataError: An input is missing, unknown, or of the wrong dtype or shape.
            RuntimeFailureError: The model failed, or its process died or took too long.
        """
        check_feeds(feeds, self._inputs, where=self._where)
        self._timed = None
        _, outputs = self._ask({"request": "run"}, "was run", feeds)
        assert outputs is not None
        return outputs

    def timed(self, feeds: Feeds, count: int) -> tuple[float, float]:
        """Wall and CPU time of one of ``count`` calls, nanoseconds, as the other process' clocks tell them.

        Feeds that were timed just before are not sent again; arrays changed in place meanwhile are not noticed. A process
        of this machine is stopped afterwards until it is asked again: TVM's threads go on spinning for a long time, and
        would slow down whatever is timed next.

        Raises:
            DataError, RuntimeFailureError: As when called.
        """
        if feeds is not self._timed:
            self(feeds)
            self._timed = feeds
        seconds = min(self._seconds * max(1.0, count / 10), LONGEST_WAIT)
        found, _ = self._ask({"request": "time", "count": count}, "was timed", seconds=seconds)
        if self._pauses:
            self._process.pause()
        return float(found["wall"]), float(found["cpu"])

    def close(self) -> None:
        """End the process. Can be called again; the model cannot be run any more."""
        self._process.close()

    def _ask(
        self, request: Mapping[str, Any], doing: str, feeds: Feeds | None = None, *, seconds: float | None = None
    ) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]] | None]:
        seconds = seconds or self._seconds
        with self._lock:
            self._process.resume()
            connection = self._process.connection
            if connection.closed:
                raise RuntimeFailureError(f"{self._kind}: the process of the model has ended", where=self._where)
            try:
                serve_model.send(connection, request, feeds)
                answered = connection.poll(seconds)
                header, arrays = serve_model.receive(connection) if answered else ({}, None)
            except (EOFError, ConnectionError) as error:
                raise self._died(doing) from error
            except BaseException:  # an answer may be under way, so that no other question can be asked
                self.close()
                raise
            if not answered:
                self.close()
                raise RuntimeFailureError(
                    f"{self._kind}: the process gave no answer while the model {doing}",
                    where=self._where,
                    expected=f"one within {seconds:g} s",
                    found="none, and the process was ended",
                )
        if "error" in header:
            message = f"{self._kind} failed while the model {doing}"
            raise RuntimeFailureError(message, where=self._where, found=_short(header["error"]))
        return header, arrays

    def _died(self, doing: str) -> RuntimeFailureError:
        epitaph = self._process.epitaph()
        self.close()
        message = f"{self._kind}: the process died while the model {doing}"
        return RuntimeFailureError(message, where=self._where, found=epitaph)


def _ours() -> dict[str, str]:
    """Our environment, and what this interpreter can import."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"
