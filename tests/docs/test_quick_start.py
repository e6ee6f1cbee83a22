"""The quick start does what it says: its commands are run, in order, in one folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRELUDE = 'set -euo pipefail\ntamis() { "$PYTHON" -m tamis "$@"; }\npython() { "$PYTHON" "$@"; }\n'


def script(text: str) -> str:
    """One shell script of all ``bash`` blocks; ``python`` blocks are fed to the interpreter."""
    parts = [code if kind == "bash" else f"python - <<'END'\n{code}END\n" for kind, code in FENCE.findall(text)]
    assert parts
    return PRELUDE + "".join(parts)


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT / "src"),
        "TAMIS_CACHE_DIR": str(folder / "cache"),
    }
    return subprocess.run(
        ["bash", "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_quick_start_runs(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    done = run(script((ROOT / "docs" / "quick-start.md").read_text(encoding="utf-8")), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    left = {path.name for path in (tmp_path / "examples" / "first-model").iterdir()}
    assert {"out", "small.missed", "out.zip", "result.npz"} <= left
    assert "small" not in left


def test_a_command_that_fails_is_seen(tmp_path: Path) -> None:
    assert run(script("```bash\ntamis frobnicate\n```\n"), tmp_path).returncode == 2
    assert run(script("```python\nassert 1 == 2\n```\n"), tmp_path).returncode == 1
