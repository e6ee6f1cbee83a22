"""The parent's side of the compiler process: ask it for work, hear how far it is, survive its death."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from tamis.compiler.errors import LoweringError
from tamis.targets.links.attached_process import DESCRIPTOR, AttachedProcess

Report = Mapping[str, Any]

FIX = "choose runtime onnxruntime for this target ('fallback: onnxruntime' does it), and report the model"


class CompilerProcess:
    """A process with TVM in it, started at the first request; use it as a context manager.

    A request that fails leaves the process usable; one that kills it is followed by a new process.

    Args:
        threads: Threads of TVM's pool, in the process and in everything that it starts.
        program: The module that the process runs.
    """

    def __init__(self, threads: int, program: str = "tamis.targets.tvm.child_main") -> None:
        self.threads = threads
        self.program = program
        self._process: AttachedProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def request(
        self, command: str, arguments: Mapping[str, Any], on_report: Callable[[Report], None] | None = None
    ) -> dict[str, Any]:
        """Run ``command`` of ``child_main.COMMANDS`` in the process.

        Args:
            arguments: JSON data.
            on_report: Gets each report of the process: ``phase``, ``op``, ``node`` and whatever the command adds.

        Raises:
            LoweringError: The command failed, or the process died; the phase and the operator are named.
        """
        self._process = process = self._process or self._start()
        place: dict[str, Any] = {"phase": "start"}
        try:
            process.connection.send_bytes(json.dumps({"command": command, "arguments": dict(arguments)}).encode())
            while "report" in (message := json.loads(process.connection.recv_bytes())):
                report = message["report"]
                if "phase" in report:
                    place = report
                if on_report is not None:
                    on_report(report)
        except (EOFError, ConnectionError) as error:
            epitaph = process.epitaph()
            self.close()
            raise LoweringError(
                f"TVM's compiler process died in phase {place['phase']!r} of {command!r}",
                where=_where(place),
                found=epitaph,
                fix=FIX,
            ) from error
        except BaseException:  # an answer is under way, so that no other question can be asked
            self.close()
            raise
        if "error" in message:
            raise _failed(message["error"])
        result: dict[str, Any] = message["result"]
        return result

    def close(self) -> None:
        """End the process with everything that it started. Can be called again."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _start(self) -> AttachedProcess:
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = {**os.environ, "TVM_NUM_THREADS": str(self.threads), "PYTHONPATH": paths}
        return AttachedProcess((sys.executable, "-m", self.program, DESCRIPTOR), environment)


def _where(place: Report) -> str | None:
    """The node and operator that a report names."""
    if not place.get("op"):
        return None
    return f"node {place['node']!r} ({place['op']})" if place.get("node") else str(place["op"])


def _failed(error: Mapping[str, Any]) -> LoweringError:
    return LoweringError(
        f"TVM failed in phase {error.get('phase')!r}",
        where=_where(error),
        found=f"{error['type']}: {error['message']}",
        fix=FIX,
    )
