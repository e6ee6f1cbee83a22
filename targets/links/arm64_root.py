"""A folder with the Python of an arm64 machine, its libraries, and the runtimes: what emulated models run in.

Made of packages of the host's Debian or Ubuntu release and of wheels in the versions that are installed here, without
root rights, and kept in the cache. ``python -m tamis.targets.links.arm64_root`` makes it and prints its path.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from tamis.compiler.errors import TamisError, TargetUnavailableError
from tamis.compiler.staging import write_error
from tamis.compiler.tuning_database import default_path
from tamis.targets.links import debian_packages
from tamis.targets.links.debian_packages import DebianPackages, unpack

Report = Callable[[float, str], None]

FORMAT = 1
"""Part of the folder's name; another one makes a new folder."""
PACKAGES = ("python3", "libstdc++6", "libgcc-s1", "libgomp1", "zlib1g")
WHEELS = (
    "numpy",
    "onnxruntime",
    "apache-tvm-ffi",
    "apache-tvm",
    "cloudpickle",
    "ml_dtypes",
    "psutil",
    "tornado",
    "typing_extensions",
)
"""Those that are installed here get into the folder, in the same versions; the last five are for TVM and its RPC server."""
PLATFORMS = ("manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 36)))
SITE = "opt/site"
MERGED = ("bin", "lib", "sbin")
"""Links into usr that a package makes when it is installed, which does not happen here."""
LONGEST_REASON = 300


def unavailable() -> str | None:
    """Why the folder is not there and cannot be made; None if it is there, or can be made if the network works."""
    if _path().is_dir():
        return None
    if (reason := debian_packages.unavailable()) is not None:
        return f"{reason}; use a machine with Debian or Ubuntu"
    if importlib.util.find_spec("pip") is None:
        return "pip cannot be found; python -m ensurepip"
    return None


def arm64_root(report: Report) -> Path:
    """The folder; made if it is not there, which takes 10 to 30 seconds, a download of 155 MB, and 480 MB of disk.

    Args:
        report: Gets (fraction done, a note).

    Raises:
        TargetUnavailableError: It cannot be made here.
        OutputError, WriteError: The cache cannot be written.
    """
    path = _path()
    with made_once(path) as staging:
        if staging is not None:
            if (reason := unavailable()) is not None:
                raise TargetUnavailableError("the arm64 system cannot be made", found=reason)
            _make(staging, report)
    return path


def python(root: Path) -> Path:
    """The interpreter of the folder: the version that the release has."""
    return root / "usr/bin" / (root / "usr/bin/python3").readlink()


def cache_folder() -> Path:
    """Where emulators and what runs in them is kept."""
    return default_path().parent / "emulation"


@contextmanager
def made_once(path: Path) -> Iterator[Path | None]:
    """A folder beside ``path`` to fill, which then becomes ``path``; None if ``path`` is there already.

    Processes that want the same folder wait for the first one. What an interrupted one has left is removed.

    Raises:
        OutputError, WriteError: The folder cannot be written.
    """
    if path.is_dir():
        yield None
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.is_dir():
                yield None
                return
            for left in path.parent.glob(f".{path.name}.*"):
                shutil.rmtree(left)
            staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
            try:
                yield staging
                staging.chmod(0o755)
                staging.rename(path)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise write_error(error, path) from error


def _path() -> Path:
    names = "\n".join((str(FORMAT), debian_packages.release_name(), *PACKAGES, *_pins()))
    return cache_folder() / f"arm64-{hashlib.sha256(names.encode()).hexdigest()[:12]}"


def _pins() -> list[str]:
    found = []
    for name in WHEELS:
        try:
            found.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def _make(root: Path, report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="tamis-") as scratch:
        report(0.0, "reading the lists of packages")
        packages = DebianPackages(Path(scratch), "arm64")
        report(0.1, "downloading Python and its libraries")
        files = packages.with_dependencies(PACKAGES)
        report(0.3, f"unpacking {len(files)} packages")
        for file in files:
            unpack(file, root)
    for name in MERGED:
        if not (root / name).exists() and not (root / name).is_symlink():
            (root / name).symlink_to(Path("usr") / name)
    report(0.4, "downloading NumPy and the runtimes (140 MB)")
    _install(root)
    report(1.0, "done")


def _install(root: Path) -> None:
    """Put the wheels into the folder; they are chosen for its Python, not for ours."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--no-compile", "--only-binary=:all:", "--target", str(root / SITE)]
    command += ["--implementation", "cp", "--python-version", python(root).name.removeprefix("python")]
    command += [part for platform in PLATFORMS for part in ("--platform", platform)]
    done = subprocess.run([*command, *_pins()], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TargetUnavailableError(
            "the wheels of the arm64 system cannot be installed",
            found=" ".join(done.stderr.split())[-LONGEST_REASON:],
            fix="see to the network and the disk, then try again",
        )


def main() -> None:
    """Make the folder and print its path."""
    try:
        path = arm64_root(lambda fraction, note: print(f"{fraction:4.0%}  {note}", file=sys.stderr))  # noqa: T201
    except TamisError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
