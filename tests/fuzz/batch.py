"""Batches of cases, each in a process of its own that is forked from one that has imported everything.

``python -m tests.fuzz.batch FOLDER SEED SECONDS [READER ...]`` runs the corpus and then changed files of it, and prints a
line of JSON for each reader. With no SECONDS (0) each reader gets its fixed number of cases.
"""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.fuzz.hostile import hostile
from tests.fuzz.readers import READERS, Reader
from tests.fuzz.watch import Watch, judge, restrict

CORPUS = Path(__file__).with_name("corpus")
BATCH_SECONDS = 60.0
"""Processor time of a quick batch at most; what hangs in native code ends with it."""

STUCK_SECONDS = 30.0
"""How long one case may stand still, as one that waits for something does."""


@dataclass
class Found:
    """What a batch did: cases that ran, and what was wrong with which of them."""

    reader: str
    cases: int = 0
    accepted: int = 0
    problem: str | None = None
    case: str | None = None


def cases(name: str, reader: Reader, chance: random.Random, folder: Path, seconds: float) -> Iterator[str]:
    """Lay out one case after the other in ``folder``; their names. Those that begin with ``hostile`` must be refused."""
    sources = sorted(path for path in (CORPUS / name).iterdir() if path.is_dir())
    for source in sources:
        shutil.copytree(source, folder, dirs_exist_ok=True, symlinks=True)
        yield source.name
    for case, make in hostile(name):
        shutil.copytree(sources[0], folder, dirs_exist_ok=True)
        if name != "bundle":
            (folder / reader.file).unlink()
        make(folder)
        yield f"hostile: {case}"
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end if seconds else number < reader.quick:
        source = chance.choice(sources)
        shutil.copytree(source, folder, dirs_exist_ok=True, symlinks=True)
        data = (source / reader.file).read_bytes()
        for _ in range(chance.choice((1, 1, 1, 3))):
            try:
                data = chance.choice(reader.changes)(data, chance)
            except Exception:  # noqa: BLE001  what cannot be parsed has its bytes changed
                data = reader.changes[0](data, chance)
        (folder / reader.file).write_bytes(data)
        number += 1
        yield f"{number} from {source.name}"


def batch(name: str, folder: Path, seed: int, seconds: float, report: int) -> None:
    """All cases of one reader until the first problem; each is reported before and after it."""
    reader, found = READERS[name], Found(name)
    work = folder / "work"
    (folder / "tmp").mkdir(parents=True)
    os.environ["TAMIS_CACHE_DIR"] = str(folder / "cache")
    watch = Watch(folder)
    restrict(seconds + BATCH_SECONDS)
    for case in cases(name, reader, random.Random(seed), work, seconds):
        found.case = case
        tell(report, found)
        accepted, problem = judge(reader.read, work / reader.file, watch)
        if accepted and case.startswith("hostile"):
            problem = problem or "it was accepted"
        found.cases += 1
        found.accepted += accepted
        gc.collect(0)
        left = [path.name for path in (folder / "tmp").iterdir()]
        found.problem = problem or (f"left in the folder for temporary files: {left[0]}" if left else None)
        if found.problem:
            tell(report, found)
            os._exit(1)
        shutil.rmtree(work)
    found.case = None
    tell(report, found)


def tell(report: int, found: Found) -> None:
    os.pwrite(report, json.dumps(asdict(found)).encode().ljust(4096), 0)


def run(name: str, folder: Path, seed: int, seconds: float) -> Found:
    """One batch in a child. The case that ends it stays in ``folder/work``."""
    report = os.memfd_create("report")
    tell(report, Found(name))
    child = os.fork()
    if child == 0:
        try:
            batch(name, folder, seed, seconds, report)
            os._exit(0)
        except BaseException:  # noqa: BLE001  a fault of the test
            traceback.print_exc()
            os._exit(9)
    status = _wait(child, report)
    found = Found(**json.loads(os.pread(report, 4096, 0)))
    os.close(report)
    if status not in (0, 1):
        found.problem = f"the process ended with status {status}"
    return found


def _wait(child: int, report: int) -> int:
    """The status of a child, which is killed when one case does not end."""
    said, end = b"", 0.0
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if said != (said := os.pread(report, 4096, 0)):
            end = time.monotonic() + STUCK_SECONDS
        if time.monotonic() > end:
            break
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    folder, seed, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    for name in sys.argv[4:] or READERS:
        (folder / name).mkdir(parents=True)
        begun = time.monotonic()
        found = run(name, folder / name, seed, seconds)
        sys.stdout.write(json.dumps({**asdict(found), "seconds": round(time.monotonic() - begun, 2)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
