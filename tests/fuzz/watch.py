"""What a process that reads hostile files must not do: leave its folder, start others, go on for ever, take all memory."""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tamis.compiler.errors import TamisError

CASE_SECONDS = 5.0
"""Processor time that one case may take."""
MEMORY = 512 << 20
"""Bytes of address space that a batch may add to what is there when it starts."""
FILE_BYTES = 64 << 20
"""Largest file that may be written."""
CHANGES = {
    "os.mkdir": 2,
    "os.rename": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.link": 2,
    "os.symlink": 2,
    "os.truncate": 9,
}
"""Audit event -> where among its arguments the descriptor of a folder is; names relative to one are not looked at."""
NEVER = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class")
EXPECTED = (2, 5)
"""Exit statuses; 5 is the tuning database's."""
MESSAGE = 20_000
"""Characters of a message at most: it names things, and does not repeat a file."""


class Hang(BaseException):
    """A case took too long."""


class Watch:
    """Notes what happens outside ``folder``, through the interpreter's audit hooks. There is no way to end it."""

    def __init__(self, folder: Path) -> None:
        self._inside = f"{folder.resolve()}/"
        self.seen: list[str] = []
        sys.dont_write_bytecode = True
        tempfile.tempdir = str(folder / "tmp")
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            if isinstance(path, str | bytes | os.PathLike):
                self._check(event, path, reading=not writes)
        elif event in CHANGES:
            place = CHANGES[event]
            if place >= len(arguments) or arguments[place] in (-1, None):
                for path in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
                    if not isinstance(path, int):
                        self._check(event, path, reading=False)
        elif event in NEVER:
            self.seen.append(f"{event} {arguments!r:.200}")

    def _check(self, event: str, path: Any, *, reading: bool) -> None:
        real = os.path.realpath(os.fsdecode(path))
        secret = real.endswith(("/secret", "/passwd"))
        if not real.startswith(self._inside) and real != os.devnull and (secret or not reading):
            self.seen.append(f"{event} {real}")


def restrict(seconds: float) -> None:
    """Limit memory, files and processor time of this process for good; ``seconds`` are for all of the batch."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    whole = int(used + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole))


@contextmanager
def _timed() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, CASE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def judge(read: Callable[[Path], object], path: Path, watch: Watch) -> tuple[bool, str | None]:
    """Read a file; whether it was accepted, and what was wrong about how that ended."""
    del watch.seen[:]
    accepted = False
    try:
        with _timed():
            read(path)
        accepted = True
    except TamisError as error:
        if error.exit_code not in EXPECTED or not str(error):
            return False, f"exit status {error.exit_code}: {error}"
        if len(str(error)) > MESSAGE:
            return False, f"a message of {len(str(error))} characters: {str(error)[:100]}"
    except Hang:
        return False, f"more than {CASE_SECONDS} s"
    except BaseException as error:  # noqa: BLE001  whatever it is, it is a finding
        return False, f"{type(error).__name__}: {str(error)[:300]}"
    return accepted, f"it touched {watch.seen[0]}" if watch.seen else None
