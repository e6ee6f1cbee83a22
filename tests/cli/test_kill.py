"""``kill -9`` a hundred times at random moments of a compile: there is always a whole bundle, and the next run succeeds."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tamis.compiler.bundle import open_bundle
from tamis.compiler.tuning_database import TuningDatabase
from tests.cli.conftest import Command

KILLS = 100


@pytest.fixture
def server(tamis: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """See ``kill_server.py``; golden samples follow the seed, so no file of two bundles is the same but the model."""
    monkeypatch.delenv("TAMIS_CACHE")
    head, _, _ = (project / "recipe.yaml").read_text().partition("data:")
    (project / "recipe.yaml").write_text(f"{head}passes: [canonicalize, fold-conv-affine: {{guard: 'off'}}]\n")
    script = Path(__file__).with_name("kill_server.py")
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as running:
        yield running
        running.kill()


def told(server: subprocess.Popen[str], word: str) -> int:
    assert server.stdout is not None
    said = server.stdout.readline().split()
    assert said and said[0] == word, said
    return int(said[1])


def start(server: subprocess.Popen[str], seed: int) -> int:
    assert server.stdin is not None
    server.stdin.write(f"{seed}\n")
    return told(server, "pid")


def built(server: subprocess.Popen[str], seed: int) -> float:
    """Compile to the end; the seconds that it took."""
    begun = time.monotonic()
    start(server, seed)
    assert told(server, "end") == 0
    return time.monotonic() - begun


def test_a_hundred_kills(server: subprocess.Popen[str], project: Path) -> None:
    built(server, 0)
    seconds = min(built(server, seed) for seed in (1, 2, 3))  # one alone may have waited for another's measurement
    chance, last, killed, replaced = random.Random(0), 3, 0, 0
    for seed in range(4, 4 + KILLS):
        child = start(server, seed)
        time.sleep(chance.uniform(0, 1.1 * seconds))
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        killed += told(server, "end") == -signal.SIGKILL
        bundle = open_bundle(project / "out")
        found = bundle.report.recipe["seed"]
        assert found in (last, seed), "the bundle before or the new one"
        replaced += found == seed
        last = seed if found == seed else last
        if seed % 10 == 0:
            built(server, 1000 + seed)
            last = 1000 + seed
            assert open_bundle(project / "out").report.recipe["seed"] == last
            left = [p.name for p in project.iterdir() if p.name.startswith(".")]
            assert not left, "the next run removes what killed ones have left"
    assert killed > KILLS // 2
    assert replaced < KILLS
    with TuningDatabase() as database:
        assert list(database.items()) is not None
    shutil.rmtree(project / "out")
    built(server, 5000)
