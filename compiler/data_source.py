"""Opening the samples that a recipe names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from tamis.compiler.data.array_samples import FolderSamples, NpzSamples
from tamis.compiler.data.image_samples import CsvSamples, image_folder, read_image
from tamis.compiler.data.plugin_samples import PluginSamples
from tamis.compiler.data.sample_input import SampleInput, sample_inputs
from tamis.compiler.data.samples import Samples
from tamis.compiler.errors import DataError
from tamis.compiler.recipe import DataSource, InputSection

__all__ = ["Samples", "open_samples", "read_image"]


def open_samples(
    source: DataSource, folder: Path, inputs: Sequence[ir.Value], sections: Mapping[str, InputSection] | None = None
) -> Samples:
    """Open samples and check them against the inputs as far as that is possible without reading everything.

    Args:
        source: Where they come from; at most ``source.samples`` of them are used.
        folder: What relative paths are relative to.
        inputs: The graph inputs that must be fed.
        sections: The recipe's inputs, whose fixed sizes count like those of the graph.

    Raises:
        DataError: Files are missing or damaged, samples do not fit the inputs, there are none, or the source
            has a metric but no labels.
        RegistryError: No data set of that name is installed.
    """
    samples = _open(source, folder, sample_inputs(inputs, sections or {}))
    if source.metric is not None and not samples.labelled:
        fix = "add an array called 'labels', or list images with labels in a CSV file"
        raise DataError(f"the metric {source.metric!r} needs labels", where=_where(source), fix=fix)
    return samples


def _where(source: DataSource) -> str:
    return source.npz or source.folder or source.images or source.csv or f"data set {source.dataset}"


def _open(source: DataSource, folder: Path, inputs: Sequence[SampleInput]) -> Samples:
    if source.npz is not None:
        return NpzSamples(folder / source.npz, inputs, source.samples)
    if source.folder is not None:
        return FolderSamples(folder / source.folder, inputs, source.samples)
    if source.images is not None:
        return image_folder(folder / source.images, inputs, source)
    if source.csv is not None:
        return CsvSamples(folder / source.csv, inputs, source)
    assert source.dataset is not None
    return PluginSamples(source.dataset, folder, inputs, source)
