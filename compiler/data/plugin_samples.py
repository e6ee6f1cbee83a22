"""Samples from an installed data set, held to the same rules as files.

A package registers a data set under the entry-point group ``tamis.datasets``: a callable that takes the
recipe's ``DataSource`` and the recipe's folder, and returns an object with ``__len__``, ``__iter__`` (dicts of
arrays, from the start each time), ``labels(index)`` (an array, or None without labels) and ``digest()``
(SHA-256 of what it read, hexadecimal). It reads at most ``source.samples`` samples if that is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from tamis.compiler import registry
from tamis.compiler.data.sample_input import Array, SampleInput, check_names, fit
from tamis.compiler.data.samples import Samples, checked_labels
from tamis.compiler.errors import DataError, TamisError
from tamis.compiler.recipe import DataSource


class DataSet(Protocol):
    """What the callable of a data-set entry point returns."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Mapping[str, Array]]: ...

    def labels(self, index: int) -> Array | None: ...

    def digest(self) -> str: ...


class PluginSamples(Samples):
    """A data set by name, with every sample checked against the inputs.

    Raises:
        RegistryError: No data set of that name is installed.
        DataError: It raised an error, is empty, or gives samples that do not fit.
    """

    def __init__(self, name: str, folder: Path, inputs: Sequence[SampleInput], source: DataSource) -> None:
        self._name = f"data set {name}"
        self._inputs = inputs
        factory = registry.lookup("datasets", name)
        with self._blamed():
            self._set: DataSet = factory(source, folder)
            self._length = min(len(self._set), source.samples or len(self._set))
        if self._length < 1:
            raise DataError("there are no samples", where=self._name)
        with self._blamed():
            self.labelled = self._set.labels(0) is not None

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        try:
            yield
        except TamisError:
            raise
        except Exception as error:  # somebody else's code
            raise DataError(
                "the data set failed", where=self._name, found=f"{type(error).__name__}: {error}"
            ) from error

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[dict[str, Array]]:
        with self._blamed():
            source = iter(self._set)
        for i in range(self._length):
            where = f"{self._name}, sample {i}"
            with self._blamed():
                found = next(source, None)
                feed = None if found is None else {name: np.asarray(array) for name, array in found.items()}
            if feed is None:
                raise DataError("the data set ended early", where=where, expected=f"{self._length} samples")
            check_names(list(feed), self._inputs, where)
            yield {item.name: fit(feed[item.name], item, f"{where}, input {item.name}") for item in self._inputs}

    def labels(self, index: int) -> Array:
        with self._blamed():
            found = self._set.labels(index)
        if found is None:
            return super().labels(index)
        return checked_labels(np.asarray(found), f"{self._name}, sample {index}")

    def digest(self) -> str:
        with self._blamed():
            found = self._set.digest()
        if not isinstance(found, str) or not re.fullmatch("[0-9a-f]{64}", found):
            raise DataError("the digest is not a SHA-256", where=self._name, found=repr(found)[:80])
        return found
