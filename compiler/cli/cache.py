"""``tamis cache``: what was built and what was measured, kept for the next time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tamis.compiler.cli.output import Json, Quiet, emit_json, table
from tamis.compiler.errors import UsageError

if TYPE_CHECKING:
    from tamis.compiler.cache.archive import Moved
    from tamis.compiler.cache.entry import Entry

MEGA = 1_000_000
DAY = 24 * 3600
AGES = ((DAY, "d"), (3600, "h"), (60, "min"))
RECORDS = ".jsonl"
DAMAGED = 5

DryRun = Annotated[bool, typer.Option("--dry-run", help="Remove nothing, only say what would go.")]

app = typer.Typer(
    help="What is kept for the next build: results of steps (the store) and what was measured (the tuning database).",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def ls(as_json: Json = False) -> None:
    """List what is stored (kind, size, last use, what it is) and what was measured (kind, workload, target, value)."""
    from tamis.compiler.cache.entry import EntryError
    from tamis.compiler.cache.store import local_store
    from tamis.compiler.tuning_database import TuningDatabase

    store = local_store()
    entries = []
    for key in store.entries.all_keys():
        try:
            entries.append((store.entries.used(key), store.entries.read(key)))
        except (EntryError, OSError):
            continue  # 'tamis cache verify' reports it
    entries.sort(key=lambda item: (-item[0], item[1].key))
    with TuningDatabase() as database:
        rows = [r.to_dict() for r in database.items()]
    if as_json:
        found = [
            {"kind": e.kind, "key": e.key, "bytes": e.bytes, "used": used, "what": what(e), "files": sorted(e.files)}
            for used, e in entries
        ]
        emit_json({"folder": str(store.folder), "entries": found, "records": rows})
        return
    now = time.time()
    stored = [(e.kind, e.key[:12], size(e.bytes), age(now - used), what(e)) for used, e in entries]
    table(("stored", "key", "size", "last use", "what"), stored)
    cells = [(r["kind"], str(r["workload"])[:12], str(r["target"])[:12], r["value"]) for r in rows]
    table(("measured", "workload", "target", "value"), cells)


def what(entry: Entry) -> str:
    """What an entry is, in a few words: its label, else the short values of its data."""
    label = entry.data.get("label")
    if isinstance(label, str):
        return label[:100]
    short = (f"{k} {v}" for k, v in entry.data.items() if isinstance(v, str | int | float) and len(str(v)) <= 40)
    return ", ".join(short)[:100]


def size(count: int) -> str:
    """Bytes as text."""
    if count < 1000:
        return f"{count} B"
    return f"{count / MEGA:.1f} MB" if count >= MEGA / 10 else f"{count / 1000:.1f} kB"


def age(seconds: float) -> str:
    """A time that has passed, as text."""
    for unit, name in AGES:
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name} ago"
    return "now"


@app.command()
def verify(dry_run: DryRun = False, quiet: Quiet = False, as_json: Json = False) -> None:
    """Hash everything that is stored again, and remove what is damaged. Exit status 5 if --dry-run finds damage."""
    from tamis.compiler.cache.check import check_store
    from tamis.compiler.cache.store import local_store
    from tamis.compiler.progress import Progress
    from tamis.compiler.staging import write_error

    store = local_store()
    try:
        with Progress("checking", quiet=quiet or as_json) as bar:
            found = check_store(store, dry_run=dry_run, progress=bar.update)
    except OSError as error:
        raise write_error(error, store.folder) from error
    if as_json:
        emit_json({**asdict(found), "removed": not dry_run})
    else:
        for item in found.damaged:
            typer.echo(f"damaged  {item.path}: {item.reason}")
        kept = ", nothing removed" if dry_run else " and removed"
        damaged = f"{len(found.damaged)} damaged{kept}" if found.damaged else "none damaged"
        typer.echo(f"{found.entries} entries, {found.blobs} blobs, {size(found.bytes)}: {damaged}")
    if dry_run and found.damaged:
        raise typer.Exit(DAMAGED)


@app.command()
def prune(
    max_mb: Annotated[
        int | None, typer.Option(min=0, help="Megabytes to leave at most.", show_default="TAMIS_CACHE_MB, else 10000")
    ] = None,
    days: Annotated[float | None, typer.Option(min=0, help="Also remove what was not used for so many days.")] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Also what was used in the last hour; builds may need it.")
    ] = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Remove from the store what was used least recently; what was used in the last hour stays, for builds that run."""
    from tamis.compiler.cache.evict import GRACE_SECONDS, evict
    from tamis.compiler.cache.store import local_store
    from tamis.compiler.progress import Progress

    store = local_store()
    with Progress("pruning", quiet=quiet or as_json) as bar:
        done = evict(
            store.folder,
            limit=store.limit if max_mb is None else max_mb * MEGA,
            older_than=None if days is None else days * DAY,
            grace=0.0 if now else GRACE_SECONDS,
            dry_run=dry_run,
            progress=bar.update,
        )
    if as_json:
        emit_json(asdict(done))
        return
    verb = "would be removed" if dry_run else "removed"
    typer.echo(f"{done.removed} files ({size(done.removed_bytes)}) {verb}, {size(done.left_bytes)} left")
    if done.spared:
        typer.echo(
            f"{done.spared} files ({size(done.spared_bytes)}) stay: used in the last hour; --now removes them, too"
        )


@app.command()
def path(as_json: Json = False) -> None:
    """Print the path of the tuning database; the store lies beside it."""
    from tamis.compiler.tuning_database import default_path

    found = default_path()
    if as_json:
        emit_json({"folder": str(found.parent), "database": str(found)})
    else:
        typer.echo(found)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="File to write: .tar for the store, .jsonl for what was measured.")],
    keys: Annotated[
        list[str] | None, typer.Argument(help="Only entries whose keys begin so.", show_default="all")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write what is stored, or what was measured, to a file that another machine can import."""
    from tamis.compiler.cache.archive import SUFFIX, export_archive, matching_keys
    from tamis.compiler.cache.store import local_store
    from tamis.compiler.progress import Progress
    from tamis.compiler.tuning_database import TuningDatabase

    if file.suffix == RECORDS and not keys:
        with TuningDatabase() as database:
            report({"records": database.export_to(file)}, f"written to {file}", as_json)
    elif file.suffix == SUFFIX:
        store = local_store()
        with Progress("exporting", quiet=quiet or as_json) as bar:
            moved = export_archive(store, file, matching_keys(store, keys or []), progress=bar.update)
        report(counts(moved), f"written to {file}", as_json, moved.left_out)
    else:
        expected = f"{SUFFIX} for entries" if keys else f"{SUFFIX} for the store or {RECORDS} for what was measured"
        raise UsageError("has another suffix", where=str(file), expected=expected, found=file.suffix or "none")


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="File made by export.")], quiet: Quiet = False, as_json: Json = False
) -> None:
    """Add what is in a file made by export; digests are checked."""
    from tamis.compiler.cache.archive import SUFFIX, import_archive
    from tamis.compiler.cache.store import local_store
    from tamis.compiler.progress import Progress
    from tamis.compiler.tuning_database import TuningDatabase

    if file.suffix == SUFFIX:
        with Progress("importing", quiet=quiet or as_json) as bar:
            moved = import_archive(local_store(), file, progress=bar.update)
        report(counts(moved), f"added from {file}", as_json, moved.left_out)
        return
    with TuningDatabase() as database:
        report({"records": database.import_from(file)}, f"added from {file}", as_json)


def counts(moved: Moved) -> dict[str, int]:
    """How much was moved."""
    return {"entries": moved.entries, "blobs": moved.blobs, "bytes": moved.bytes}


def report(found: Mapping[str, int], done: str, as_json: bool, left_out: Sequence[str] = ()) -> None:
    """Print what was moved, and the keys of entries that were not."""
    if as_json:
        emit_json({**found, "left_out": list(left_out)})
        return
    typer.echo(", ".join(f"{count} {name}" for name, count in found.items()) + f" {done}")
    for key in left_out:
        typer.echo(f"left out  {key}: it is damaged, or a blob is missing")


@app.command()
def clear(as_json: Json = False) -> None:
    """Remove all that is stored and all that was measured; the next compile does everything again."""
    from tamis.compiler.cache.evict import evict
    from tamis.compiler.cache.store import local_store
    from tamis.compiler.tuning_database import remove_database

    done = evict(local_store().folder, limit=0, grace=0.0)
    removed = remove_database()
    if as_json:
        emit_json({**asdict(done), "database": str(removed)})
    else:
        typer.echo(f"removed {removed} and {done.removed} stored files ({size(done.removed_bytes)})")
