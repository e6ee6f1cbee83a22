"""Where a compile can go on from: the model and the records after each step, kept in the cache.

The key of a step covers the key of the step before it, so a changed option makes its own step and all later ones new,
and leaves the earlier ones as they were. The first key covers all that steps may depend on: the model, the samples, the
accuracy budget, the target with its features, and the code and versions of everything.

A step that failed has no checkpoint. A checkpoint whose new weights would take longer to store than the steps since the
last one took is not stored; those steps are taken again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
from pydantic import JsonValue

from tamis.compiler.graph_pass import GraphPass
from tamis.compiler.incremental.stored_model import ModelStore
from tamis.compiler.manifest import StepRecord
from tamis.compiler.outcome import Outcome, Together

if TYPE_CHECKING:
    from tamis.compiler.cache.store import Store

KIND = "step"
MALFORMED = (LookupError, TypeError, ValueError, AttributeError)
"""What comes of an entry that has lost a file (``BlobLostError``), or is no step: one from elsewhere can say anything."""
SMALL = 32e6
BYTES_PER_SECOND = 2e8
"""What storing may cost: up to ``SMALL`` bytes of new weights always, more only after steps that took long enough."""


def step_keys(base: Mapping[str, JsonValue], steps: Sequence[GraphPass[Any]]) -> list[str]:
    """One key a step, hexadecimal: of the model after it."""
    keys: list[str] = []
    before = json.dumps(base, sort_keys=True)
    for step in steps:
        options = step.options.model_dump(mode="json")
        before = hashlib.sha256(json.dumps([before, step.name, options], sort_keys=True).encode()).hexdigest()
        keys.append(before)
    return keys


@dataclass(frozen=True)
class Resumed:
    """A compile that goes on.

    Args:
        done: How many steps need not be taken.
        outcome: After those.
        together: Lossless steps among them whose speed has not been measured yet.
    """

    done: int
    outcome: Outcome
    together: Together | None


@dataclass
class Checkpoints:
    """Of one target's steps.

    Args:
        store: The cache; None keeps nothing.
        keys: See ``step_keys``.
    """

    store: Store | None
    keys: Sequence[str] = ()
    _models: ModelStore | None = field(default=None, init=False)
    _stored_at: float = field(default_factory=time.monotonic, init=False)

    def __post_init__(self) -> None:
        self._models = ModelStore(self.store) if self.store else None

    def latest(self, given: ir.Model) -> Resumed | None:
        """The last checkpoint that is there; None if no step can be spared.

        Args:
            given: The model before the first step.
        """
        for done in range(len(self.keys), 0, -1):
            try:
                found = self._resume(done, given)
            except MALFORMED:
                continue
            if found is not None:
                return found
        return None

    def save(self, done: int, outcome: Outcome, together: Together | None) -> None:
        """Keep what there is after ``done`` steps."""
        if self.store is None or self._models is None:
            return
        size = self._models.new_bytes(outcome.model)
        if size > SMALL and time.monotonic() - self._stored_at < size / BYTES_PER_SECOND:
            return
        data: dict[str, JsonValue] = {
            "step": outcome.records[-1].name,
            "records": [record.model_dump(mode="json") for record in outcome.records],
            "broken": dict(outcome.broken),
            "short": dict(outcome.short),
            "timings": outcome.timings,
            "together": _as_data(together) if together else None,
        }
        self.store.put(self.keys[done - 1], KIND, data, self._models.put(outcome.model))
        self._stored_at = time.monotonic()

    def _resume(self, done: int, given: ir.Model) -> Resumed | None:
        entry = self.store.get(self.keys[done - 1]) if self.store else None
        if entry is None or self._models is None:
            return None
        data: Any = entry.data
        together = None
        if data["together"]:
            first = data["together"]["first"]
            before = self.store.get(self.keys[first - 1]) if self.store and first else None
            if first and before is None:
                return None
            model = self._models.get(before.files) if before else given
            together = Together(first, model, data["together"]["records"], data["together"]["changed"])
        outcome = Outcome(
            self._models.get(entry.files),
            [StepRecord.model_validate(record) for record in data["records"]],
            dict(data["broken"]),
            dict(data["short"]),
            dict(data["timings"]),
            reused=done,
        )
        return Resumed(done, outcome, together)


def _as_data(together: Together) -> dict[str, JsonValue]:
    return {"first": together.first, "records": together.records, "changed": together.changed}
