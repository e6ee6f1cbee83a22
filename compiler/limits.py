"""How much is taken of what comes from elsewhere; each limit can be set by an environment variable.

They bound memory, disk and time before anything is read in full. The recipe's limits (``recipe_yaml``, ``recipe_tree``,
``recipe_file``) and those of one cache entry (``cache.entry``) are part of their formats and cannot be set.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from tamis.compiler.errors import UsageError

MEGA = 1_000_000


@dataclass(frozen=True)
class Limit:
    """A limit.

    Args:
        variable: The environment variable that sets it.
        default: Without the variable, in its unit.
        unit: What one of it stands for: nodes, or bytes in a megabyte.
        what: What is limited.
    """

    variable: str
    default: int
    unit: int
    what: str

    @property
    def most(self) -> int:
        """The limit that holds now, in nodes or bytes.

        Raises:
            UsageError: The variable holds no whole number of at least 1.
        """
        text = os.environ.get(self.variable) or str(self.default)
        if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 15 and int(text)):
            raise UsageError("makes no sense", where=self.variable, expected="a whole number above 0", found=repr(text))
        return int(text) * self.unit

    @property
    def fix(self) -> str:
        """What to do about a good file that is larger, for messages."""
        return f"if the file can be trusted, set {self.variable}"


NODES = Limit("TAMIS_MAX_NODES", 5_000_000, 1, "nodes of a model, with those of its subgraphs")
MODEL = Limit("TAMIS_MAX_MODEL_MB", 2_148, MEGA, "size of an ONNX file, without external data")
BUNDLE = Limit("TAMIS_MAX_BUNDLE_MB", 20_000, MEGA, "files of a zipped bundle when unpacked, together")
REPORT = Limit("TAMIS_MAX_MANIFEST_MB", 100, MEGA, "size of bundle.json and of measurements.json")
ARRAYS = Limit("TAMIS_MAX_ARRAYS_MB", 17_180, MEGA, "arrays of one .npz file when unpacked, together")
RECORDS = Limit("TAMIS_MAX_RECORDS_MB", 500, MEGA, "size of a file of measured records to import")

LIMITS = (NODES, MODEL, BUNDLE, REPORT, ARRAYS, RECORDS)
"""All of them, in the order of the documentation."""
