"""What all parts of one compile share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tamis.compiler.phases import Phases
from tamis.compiler.tuning_database import TuningDatabase

if TYPE_CHECKING:
    from tamis.compiler.cache.store import Store


@dataclass(frozen=True)
class Session:
    """One compile.

    Args:
        database: Remembers what was measured.
        store: Remembers what steps made of models; None keeps nothing.
        phases: Where the time went.
        quiet: No progress bars.
    """

    database: TuningDatabase
    store: Store | None = None
    phases: Phases = field(default_factory=Phases)
    quiet: bool = False
