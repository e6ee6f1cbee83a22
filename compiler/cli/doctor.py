"""``tamis doctor``: what this machine is and what works on it."""

from __future__ import annotations

import typer

from tamis.compiler.cli.output import Json, emit_json, fields


def doctor(as_json: Json = False) -> None:
    """Show this machine, the runtimes that work on it, the versions, and where the tuning database is."""
    from tamis.compiler.catalog import entries
    from tamis.compiler.machine import find_machine
    from tamis.compiler.tuning_database import default_path
    from tamis.compiler.versions import versions

    host = find_machine("host")
    runtimes = {e.name: e.facts["here"] for e in entries("targets")}
    database = default_path()
    if as_json:
        emit_json(
            {
                "machine": host.model_dump(mode="json"),
                "runtimes": runtimes,
                "versions": versions(),
                "tuning_database": str(database),
            }
        )
        return
    caches = host.caches
    fields(
        {
            "machine": host.description,
            "isa": " ".join(host.isa),
            "cores": f"{host.cores} cores, {host.threads} threads for this process",
            "caches": f"L1d {caches.l1d >> 10} KiB, L2 {caches.l2 >> 10} KiB, L3 {caches.l3 >> 20} MiB",
            "int8": f"{host.int8.pair}, {'saturating' if host.int8.saturates else 'exact'} accumulation",
            **{f"runtime {name}": state for name, state in runtimes.items()},
            **versions(),
            "tuning database": f"{database} ({database.stat().st_size >> 10} KiB)"
            if database.exists()
            else f"{database} (empty)",
        }
    )
    typer.echo()
