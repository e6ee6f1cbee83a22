"""Samples from images and CSV files: layout, size, normalisation, and every way to be wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from tamis.compiler.data_source import open_samples, read_image
from tamis.compiler.errors import DataError
from tamis.compiler.recipe import DataSource, InputSection
from tests.compiler.data.array_writers import value

NCHW = value("x", (1, 3, 4, 8))


def picture(path: Path, color: Any = (10, 20, 30), size: tuple[int, int] = (8, 4), mode: str = "RGB") -> Path:
    Image.new(mode, size, color).save(path)
    return path


@pytest.mark.parametrize("shape", [(1, 3, 4, 8), ("N", 4, 8, 3)])
def test_channels_come_first_or_last(shape: tuple[int | str, ...], tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 4))
    image.putpixel((7, 1), (255, 51, 0))
    image.save(tmp_path / "a.png")
    [feed] = open_samples(DataSource(images="."), tmp_path, [value("x", shape)])
    x = feed["x"] if shape[1] == 3 else feed["x"].transpose(0, 3, 1, 2)
    assert x.shape == (1, 3, 4, 8)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[0, :, 1, 7], [1, 0.2, 0], rtol=1e-6)
    assert np.count_nonzero(x) == 2


def test_mean_and_scale_per_channel(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    source = DataSource(images=".", mean=(10, 10, 10), scale=(1, 2, 4))
    [feed] = open_samples(source, tmp_path, [NCHW])
    assert feed["x"][0, :, 0, 0].tolist() == [0, 5, 5]


def test_images_are_resized_and_converted(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 100, (16, 16), "L")
    picture(tmp_path / "b.png", (1, 2, 3, 4), (2, 2), "RGBA")
    (tmp_path / "notes.txt").touch()
    feeds = list(open_samples(DataSource(images=".", scale=(1,)), tmp_path, [NCHW]))
    assert [feed["x"].shape for feed in feeds] == [(1, 3, 4, 8)] * 2
    assert set(feeds[0]["x"].reshape(-1)) == {100}
    [grey] = open_samples(DataSource(images=".", samples=1), tmp_path, [value("x", (1, 1, 4, 8))])
    assert grey["x"].shape == (1, 1, 4, 8)


def test_the_resize_is_bilinear(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "a.png")
    [feed] = open_samples(DataSource(images="."), tmp_path, [value("x", (1, 1, 1, 4))])
    np.testing.assert_allclose(feed["x"][0, 0, 0], [0, 0.25, 0.75, 1], atol=0.003)


def test_bytes_go_into_a_byte_input(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    item = value("x", (1, 4, 8, 3), ir.DataType.UINT8)
    [feed] = open_samples(DataSource(images=".", scale=(1,)), tmp_path, [item])
    assert feed["x"].dtype == np.uint8
    assert feed["x"][0, 0, 0].tolist() == [10, 20, 30]


def test_the_recipe_can_fix_the_size(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    free = value("x", ("N", 3, "H", "W"))
    fixed = {"x": InputSection(shape=(1, 3, 6, 6))}
    [feed] = open_samples(DataSource(images="."), tmp_path, [free], fixed)
    assert feed["x"].shape == (1, 3, 6, 6)
    with pytest.raises(DataError, match=re.escape("fix height and width in inputs.x.shape")):
        open_samples(DataSource(images="."), tmp_path, [free])


def test_one_image_for_the_command_line(tmp_path: Path) -> None:
    assert read_image(picture(tmp_path / "a.png"), NCHW).shape == (1, 3, 4, 8)
    with pytest.raises(DataError, match="there is no such file"):
        read_image(tmp_path / "b.png", NCHW)


def test_a_csv_gives_labels(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    picture(tmp_path / "sub" / "b.png", 255)
    picture(tmp_path / "a.png", 0)
    text = "\ufefffile,label\r\nsub/b.png, 3\r\n\r\na.png,1,2\r\na.png,0.5\r\n"
    (tmp_path / "l.csv").write_text(text, encoding="utf-8")
    samples = open_samples(DataSource(csv="l.csv", metric="accuracy"), tmp_path, [NCHW])
    assert [feed["x"].max() for feed in samples] == [1, 0, 0]
    assert [samples.labels(i).tolist() for i in range(3)] == [[3], [1, 2], [0.5]]
    assert samples.labels(0).dtype == np.int64
    before = samples.digest()
    (tmp_path / "l.csv").write_text(text.replace("3", "4"), encoding="utf-8")
    assert samples.digest() != before
    assert len(open_samples(DataSource(csv="l.csv", samples=2), tmp_path, [NCHW])) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "l.csv: there are no samples; expected lines of the form file,label"),
        ("file,label\n", "there are no samples"),
        ("a.png,1\na.png\n", "l.csv:2: this line is not a sample; expected file,label, found a.png"),
        (",1\n", "l.csv:1: this line is not a sample"),
        ("a.png,cat\n", "l.csv:1: a label must be a number; found 'cat'"),
        ("a.png,\n", "l.csv:1: a label must be a number; found ''"),
        ("a.png,nan\n", "l.csv:1: a label must be a finite number"),
        ("b.png,1\n", "b.png: there is no such file"),
        ('"a.png,1\n', "cannot be read as a CSV file"),
        ("a.png,\udcff\n", "cannot be read as a CSV file"),
        ("a\0b,1\n", "there is no such file"),
    ],
)
def test_csv_files_that_are_wrong(text: str, message: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "l.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=re.escape(message)):
        open_samples(DataSource(csv="l.csv"), tmp_path, [NCHW])


@pytest.mark.parametrize(
    ("inputs", "source", "message"),
    [
        ([NCHW, value("y", (1,))], {}, "images are for models with one input; found x, y"),
        ([value("x", (1, 3))], {}, "images do not fit this input; expected [1, C, H, W] or [1, H, W, C]"),
        ([value("x", (1, 4, 4, 4))], {}, "images do not fit this input"),
        ([value("x", (2, 3, 4, 4))], {}, "images do not fit this input"),
        ([NCHW], {"mean": (1, 2)}, "wrong number of values for mean; expected 1 or 3, found 2"),
        (
            [value("x", (1, 1, 4, 8))],
            {"scale": (1, 2, 3)},
            "wrong number of values for scale; expected 1 or 1, found 3",
        ),
        ([value("x", (1, 3, 4, 8), ir.DataType.UINT8)], {}, "pixels cannot be scaled for this input"),
        ([value("x", (1, 3, 4, 8), ir.DataType.INT64)], {"scale": (1,)}, "expected a float input, or a uint8 input"),
        ([NCHW], {"metric": "accuracy"}, "the metric 'accuracy' needs labels"),
    ],
)
def test_inputs_that_images_do_not_fit(
    inputs: list[ir.Value], source: dict[str, Any], message: str, tmp_path: Path
) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match=re.escape(message)):
        open_samples(DataSource(images=".", **source), tmp_path, inputs)


def bomb(path: Path) -> bytes:
    Image.new("1", (10_000, 10_000)).save(path)
    return path.read_bytes()


def test_images_that_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    good = path.read_bytes()
    for data in (b"", b"hello", good[:60], good[:6000], good[:4000] + bytes(20) + good[4020:], bomb(path)):
        path.write_bytes(data)
        samples = open_samples(DataSource(images="."), tmp_path, [NCHW])
        with pytest.raises(DataError, match=r"a\.png: cannot be read as an image"):
            list(samples)


def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the folder holds no samples; expected files ending in \.png"):
        open_samples(DataSource(images="."), tmp_path, [NCHW])
