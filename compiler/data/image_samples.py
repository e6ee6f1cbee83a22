"""Samples from image files, through Pillow."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from tamis.compiler.data.array_file import require_file
from tamis.compiler.data.sample_input import Array, SampleInput, fit, sample_input
from tamis.compiler.data.samples import Samples, files_digest, folder_files
from tamis.compiler.errors import DataError
from tamis.compiler.recipe import DataSource

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif")
MODES = {1: "L", 3: "RGB"}


class ImageSamples(Samples):
    """Images, each resized (bilinear) to the input's size, then ``(pixel - mean) / scale`` per channel.

    The input is NCHW if its second dimension is 1 or 3, else NHWC if its last one is; one channel means
    grayscale, three mean RGB. For an integer input, mean must be 0 and scale 1. Pixels are taken as stored
    (EXIF rotation is not applied).

    Raises:
        DataError: Not a single input of that form, or a file is missing.
    """

    def __init__(
        self, paths: Sequence[Path], inputs: Sequence[SampleInput], source: DataSource, labels: Sequence[Array] = ()
    ) -> None:
        if len(inputs) != 1:
            raise DataError("images are for models with one input", found=", ".join(item.name for item in inputs))
        self._item = inputs[0]
        self._layout = _Layout(self._item, source)
        self._paths = paths
        self._labels = labels
        self.labelled = bool(labels)
        for path in paths:
            require_file(path)

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for path in self._paths:
            yield {self._item.name: self._layout.read(path)}

    def labels(self, index: int) -> Array:
        return self._labels[index] if self.labelled else super().labels(index)

    def digest(self) -> str:
        return files_digest(self._paths)


class CsvSamples(ImageSamples):
    """Lines ``file,label`` (or several labels, one a column) in a CSV file; a first line ``file,label`` is a header.

    Image files are relative to the CSV file.
    """

    def __init__(self, path: Path, inputs: Sequence[SampleInput], source: DataSource) -> None:
        rows = _rows(path)[: source.samples]
        super().__init__([path.parent / name for name, _ in rows], inputs, source, [label for _, label in rows])
        self._csv = path

    def digest(self) -> str:
        return files_digest([self._csv, *self._paths])


def image_folder(folder: Path, inputs: Sequence[SampleInput], source: DataSource) -> ImageSamples:
    """The images of a folder, sorted by name; files of other kinds are left alone."""
    return ImageSamples(folder_files(folder, SUFFIXES, source.samples), inputs, source)


def read_image(path: Path, value: ir.Value, source: DataSource | None = None) -> Array:
    """One image file as the graph input ``value`` takes it, with the mean and scale of ``source``.

    Raises:
        DataError: The file cannot be read, or the input is not an image of fixed size.
    """
    item = sample_input(value)
    return _Layout(item, source or DataSource(images=str(path))).read(path)


class _Layout:
    """Where channels, height and width are in an input, and how pixels become its values."""

    def __init__(self, item: SampleInput, source: DataSource) -> None:
        where = f"input {item.name}"
        shape = item.shape
        axis = next((i for i in (1, 3) if len(shape) == 4 and shape[i] in MODES), None)
        if axis is None or shape[0] not in (1, None):
            expected = "[1, C, H, W] or [1, H, W, C] with C = 1 or 3"
            raise DataError("images do not fit this input", where=where, expected=expected, found=item.shape_text)
        height, width = (shape[2], shape[3]) if axis == 1 else (shape[1], shape[2])
        if height is None or width is None:
            fix = f"fix height and width in inputs.{item.name}.shape of the recipe"
            raise DataError("the size of the images is not known", where=where, found=item.shape_text, fix=fix)
        channels = int(shape[axis] or 0)
        for name, values in (("mean", source.mean), ("scale", source.scale)):
            if len(values) not in (1, channels):
                raise DataError(
                    f"wrong number of values for {name}",
                    where=where,
                    expected=f"1 or {channels}",
                    found=str(len(values)),
                )
        if not item.floating and (item.dtype != np.uint8 or set(source.mean) != {0.0} or set(source.scale) != {1.0}):
            expected = "a float input, or a uint8 input with mean: [0] and scale: [1]"
            raise DataError(
                "pixels cannot be scaled for this input", where=where, expected=expected, found=item.dtype.name
            )
        self._item, self._axis, self._mode, self._size = item, axis, MODES[channels], (width, height)
        self._mean, self._scale = np.array(source.mean, np.float32), np.array(source.scale, np.float32)

    def read(self, path: Path) -> Array:
        pixels = _pixels(path, self._mode, self._size)
        if self._item.floating:
            pixels = ((pixels.astype(np.float32) - self._mean) / self._scale).astype(self._item.dtype)
        if self._axis == 1:
            pixels = pixels.transpose(2, 0, 1)
        return fit(pixels[None], self._item, str(path))


def _pixels(path: Path, mode: str, size: tuple[int, int]) -> Array:
    """Height x width x channels, uint8."""
    from PIL import Image

    require_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(path) as image:
                array = np.asarray(image.convert(mode).resize(size, Image.Resampling.BILINEAR))
    except Exception as error:  # Pillow's decoders raise errors of any kind on damaged files
        raise DataError(
            "cannot be read as an image", where=str(path), found=str(error) or type(error).__name__
        ) from error
    return array.reshape(size[1], size[0], -1)


def _rows(path: Path) -> list[tuple[str, Array]]:
    require_file(path)
    rows: list[tuple[str, Array]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.reader(stream, strict=True)
            for cells in lines:
                header = not rows and cells and cells[0].strip().lower() == "file"
                if cells and not header:
                    rows.append(_row(cells, f"{path}:{lines.line_num}"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError("cannot be read as a CSV file", where=str(path), found=str(error)) from error
    if not rows:
        raise DataError("there are no samples", where=str(path), expected="lines of the form file,label")
    return rows


def _row(cells: list[str], where: str) -> tuple[str, Array]:
    if len(cells) < 2 or not cells[0].strip():
        raise DataError("this line is not a sample", where=where, expected="file,label", found=",".join(cells))
    labels = []
    for cell in cells[1:]:
        try:
            labels.append(float(cell))
        except ValueError as error:
            raise DataError("a label must be a number", where=where, found=repr(cell)) from error
    values = np.array(labels)
    if not np.isfinite(values).all():
        raise DataError("a label must be a finite number", where=where, found=",".join(cells[1:]))
    whole = values.astype(np.int64) if (values == np.round(values)).all() and (abs(values) < 2**53).all() else values
    return cells[0].strip(), whole
