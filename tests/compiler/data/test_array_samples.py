"""Samples from .npz and .npy: the rank rule, conversion, labels, and every way to be wrong."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tamis.compiler.data_source import Samples, open_samples
from tamis.compiler.errors import DataError
from tamis.compiler.recipe import DataSource, InputSection
from tests.compiler.data.array_writers import npy_bytes, npz_of, ramp, value

X = value("x", ("N", 3, 4))
STATE = value("state", (2, 1, 5))
IDS = value("ids", ("N", None), ir.DataType.INT64)
RATE = value("rate", (), ir.DataType.INT64)


def npz(folder: Path, inputs: list[ir.Value], *, samples: int | None = None, **arrays: Any) -> Samples:
    np.savez(folder / "s.npz", **arrays)
    return open_samples(DataSource(npz="s.npz", samples=samples), folder, inputs)


def test_the_rank_decides_how_samples_are_cut(tmp_path: Path) -> None:
    x, state, rate = ramp(6, 3, 4), ramp(6, 2, 1, 5), ramp(6, dtype=np.int64)
    samples = npz(tmp_path, [X, STATE, RATE], x=x, state=state, rate=rate)
    feeds = list(samples)
    assert len(samples) == len(feeds) == 6
    assert {name: array.shape for name, array in feeds[5].items()} == {"x": (1, 3, 4), "state": (2, 1, 5), "rate": ()}
    np.testing.assert_array_equal(feeds[5]["x"], x[5:6])
    np.testing.assert_array_equal(feeds[5]["state"], state[5])
    assert feeds[5]["rate"] == 5
    assert all(isinstance(array, np.ndarray) for array in feeds[5].values())


def test_a_dimension_more_keeps_the_batch(tmp_path: Path) -> None:
    assert [feed["x"].shape for feed in npz(tmp_path, [X], x=ramp(2, 5, 3, 4))] == [(5, 3, 4)] * 2


@pytest.mark.parametrize("dtype", ["float64", "float16", ">f4"])
def test_floats_of_another_width_are_converted(dtype: str, tmp_path: Path) -> None:
    [feed] = npz(tmp_path, [X], x=ramp(1, 3, 4).astype(dtype))
    assert feed["x"].dtype == np.float32
    np.testing.assert_array_equal(feed["x"], ramp(1, 3, 4))


def test_fortran_order_and_compression_do_not_matter(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "s.npz", x=np.asfortranarray(ramp(2, 3, 4)))
    feeds = list(open_samples(DataSource(npz="s.npz"), tmp_path, [X]))
    np.testing.assert_array_equal(np.concatenate([feed["x"] for feed in feeds]), ramp(2, 3, 4))


def test_iteration_starts_anew_each_time(tmp_path: Path) -> None:
    samples = npz(tmp_path, [X], x=ramp(2, 3, 4))
    assert len(list(samples)) == len(list(samples)) == 2


def test_labels_and_digest(tmp_path: Path) -> None:
    samples = npz(tmp_path, [X], x=ramp(2, 3, 4), labels=np.array([[1, -1], [2, 3]]))
    assert samples.labelled
    assert [samples.labels(i).tolist() for i in range(2)] == [[1, -1], [2, 3]]
    assert samples.digest() == hashlib.sha256((tmp_path / "s.npz").read_bytes()).hexdigest()


def test_an_input_called_labels_is_an_input(tmp_path: Path) -> None:
    samples = npz(tmp_path, [value("labels", (1, 2))], labels=ramp(3, 2))
    assert not samples.labelled
    assert len(list(samples)) == 3
    with pytest.raises(DataError, match="these samples have no labels"):
        samples.labels(0)


def test_only_the_first_samples_count(tmp_path: Path) -> None:
    x = ramp(4, 3, 4)
    x[3] = np.nan
    samples = npz(tmp_path, [X], samples=3, x=x, labels=np.arange(4))
    assert (len(samples), len(list(samples))) == (3, 3)
    assert len(npz(tmp_path, [X], samples=9, x=ramp(4, 3, 4))) == 4


def test_sizes_that_the_recipe_fixes_count(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", ids=ramp(2, 7, dtype=np.int64))
    source = DataSource(npz="s.npz")
    fixed = {"ids": InputSection(shape=(1, 8))}
    assert len(open_samples(source, tmp_path, [IDS])) == 2
    with pytest.raises(DataError, match=re.escape("input ids: wrong shape; expected [1, 8], found [1, 7]")):
        open_samples(source, tmp_path, [IDS], fixed)


def spoiled(index: tuple[int, ...], number: float) -> np.ndarray[Any, Any]:
    x = ramp(2, 3, 4)
    x[index] = number
    return x


BAD_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown input": ({"xs": ramp(2, 3, 4)}, "the model has no input 'xs' (did you mean 'x'?); expected x and ids"),
    "unnamed": ({"arr_0": ramp(2, 3, 4)}, "the model has no input 'arr_0'"),
    "missing input": ({"x": ramp(2, 3, 4)}, "the input 'ids' is missing; found x"),
    "wrong rank": ({"x": ramp(2, 12)}, "input x: wrong rank; expected [?, 3, 4] with samples along axis 0, or"),
    "wrong size": ({"x": ramp(2, 3, 5)}, "input x: wrong shape; expected [?, 3, 4], found [1, 3, 5]"),
    "size zero": ({"x": ramp(2, 0, 3, 4)}, "input x: wrong shape; expected [?, 3, 4], found [0, 3, 4]"),
    "integers for floats": (
        {"x": ramp(2, 3, 4, dtype=np.int32)},
        "input x: wrong dtype; expected float32, found int32",
    ),
    "other integers": (
        {"ids": ramp(2, 3, dtype=np.int32)},
        "expected int64, found int32; convert it with .astype('int64')",
    ),
    "floats for integers": ({"ids": ramp(2, 3)}, "input ids: wrong dtype; expected int64, found float32"),
    "complex": ({"x": ramp(2, 3, 4).astype(complex)}, "expected float32, found complex128"),
    "text": ({"x": np.full((2, 3, 4), "a")}, "expected float32, found <U1"),
    "NaN": ({"x": spoiled((1, 2, 3), np.nan)}, "input x: values are NaN or infinite; found nan at [1, 2, 3]"),
    "infinity": ({"x": spoiled((0, 0, 1), -np.inf)}, "found -inf at [0, 0, 1]"),
    "too large when converted": ({"x": np.full((2, 3, 4), 1e300)}, "found inf at [0, 0, 0]"),
    "objects": (
        {"x": np.array([[1], "a"], dtype=object)},
        "array x: this array holds Python objects; expected numbers",
    ),
    "no samples": ({"x": ramp(0, 3, 4), "ids": ramp(0, 3, dtype=np.int64)}, "there are no samples"),
    "lengths": ({"x": ramp(3, 3, 4)}, "different numbers of samples; found x: 3, ids: 2"),
    "label count": ({"labels": np.arange(3)}, "different numbers of samples; found x: 2, ids: 2, labels: 3"),
    "single label": ({"labels": np.array(3)}, "found x: 2, ids: 2, labels: a single value"),
    "label text": ({"labels": np.array(["a", "b"])}, "labels must be numbers; found <U1"),
    "label NaN": ({"labels": np.array([1, np.nan])}, "labels are NaN or infinite; found nan at [1]"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_do_not_fit_are_refused_when_opened(case: str, tmp_path: Path) -> None:
    changed, message = BAD_ARRAYS[case]
    good = {"x": ramp(2, 3, 4), "ids": ramp(2, 3, dtype=np.int64)}
    arrays = changed if case in ("missing input", "unknown input", "unnamed") else {**good, **changed}
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        npz(tmp_path, [X, IDS], **arrays)
    assert str(tmp_path / "s.npz") in str(caught.value)
    assert caught.value.exit_code == 2


def good_npz(path: Path) -> bytes:
    np.savez_compressed(path, x=ramp(2, 3, 4), labels=np.arange(2))
    return path.read_bytes()


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing there": (lambda path: None, "there is no such file; expected a file, found nothing"),
    "a folder": (Path.mkdir, "there is no such file; expected a file, found a folder"),
    "empty": (Path.touch, "cannot be read as an .npz file"),
    "text": (lambda path: path.write_text("hello"), "cannot be read as an .npz file; found File is not a zip file"),
    "truncated": (lambda path: path.write_bytes(good_npz(path)[:-80]), "cannot be read as an .npz file"),
    "a plain npy": (
        lambda path: path.write_bytes(npy_bytes((1, 3, 4), "'<f4'", bytes(48))),
        "cannot be read as an .npz",
    ),
    "no arrays": (lambda path: npz_of(path), "the input 'x' is missing; found no arrays"),
    "no header": (lambda path: npz_of(path, x=b"hello"), "cannot be read as an .npz file"),
    "header cut off": (lambda path: npz_of(path, x=b"\x93NUMPY\x01\x00\xff\xff{"), "cannot be read as an .npz file"),
    "code in the header": (
        lambda path: npz_of(path, x=npy_bytes("__import__('os').getpid()", "'<f4'", b"")),
        "cannot be read as an .npz file",
    ),
    "shape too large": (
        lambda path: npz_of(path, x=npy_bytes((10**12, 3, 4), "'<f4'", bytes(48))),
        "array x: the file is truncated or damaged; expected 48000000000000 bytes for shape [1000000000000, 3, 4] of",
    ),
    "shape too small": (
        lambda path: npz_of(path, x=npy_bytes((1, 3, 4), "'<f4'", bytes(52))),
        "expected 48 bytes for shape [1, 3, 4] of float32, found 52 bytes",
    ),
    "negative shape": (lambda path: npz_of(path, x=npy_bytes((-1, -3, 4), "'<f4'", bytes(48))), "truncated or damaged"),
    "later version": (
        lambda path: npz_of(path, x=npy_bytes((1, 3, 4), "'<f4'", bytes(48), b"\x03\x00")),
        "this version of the .npy format is not supported; found (3, 0)",
    ),
    "pickle": (lambda path: npz_of(path, x=npy_bytes((1,), "'|O'", b"cos\nsystem\n.")), "Python objects"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_files_that_are_damaged(case: str, tmp_path: Path) -> None:
    spoil, message = BAD_FILES[case]
    spoil(tmp_path / "s.npz")
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        open_samples(DataSource(npz="s.npz"), tmp_path, [X])
    assert str(tmp_path / "s.npz") in str(caught.value)


def test_a_zip_bomb_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_MAX_ARRAYS_MB", "1")
    npz_of(tmp_path / "s.npz", x=npy_bytes((1, 250_000), "'<f4'", bytes(1_000_000)))
    assert (tmp_path / "s.npz").stat().st_size < 5000
    with pytest.raises(DataError, match="too large; expected at most 1000000 bytes when unpacked, found 10000"):
        open_samples(DataSource(npz="s.npz"), tmp_path, [value("x", (1, 250_000))])


def test_a_flipped_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    good = good_npz(path)
    refused = 0
    for i in range(0, len(good), 3):
        data = bytearray(good)
        data[i] ^= 0xFF
        path.write_bytes(data)
        try:
            assert len(list(open_samples(DataSource(npz="s.npz"), tmp_path, [X]))) == 2
        except DataError:
            refused += 1
    assert refused > len(good) / 6


def test_a_folder_of_npz_is_one_sample_a_file(tmp_path: Path) -> None:
    for i in (2, 0, 1):
        np.savez(tmp_path / f"{i}.npz", x=ramp(1, 3, 4) + i, state=ramp(2, 1, 5), labels=np.array([i]))
    samples = open_samples(DataSource(folder=tmp_path.name), tmp_path.parent, [X, STATE])
    assert [feed["x"][0, 0, 0] for feed in samples] == [0, 1, 2]
    assert [samples.labels(i).tolist() for i in range(3)] == [[0], [1], [2]]
    assert len(open_samples(DataSource(folder=".", samples=2), tmp_path, [X, STATE])) == 2
    before = samples.digest()
    np.savez(tmp_path / "1.npz", x=ramp(1, 3, 4), state=ramp(2, 1, 5), labels=np.array([1]))
    assert samples.digest() != before


@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 4), (5, 3, 4)])
def test_a_folder_of_npy_is_for_one_input(shape: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp(*shape, dtype=np.float64))
    [feed] = open_samples(DataSource(folder="."), tmp_path, [X])
    assert feed["x"].shape == (shape if len(shape) == 3 else (1, *shape))
    assert feed["x"].dtype == np.float32


def a_file(folder: Path) -> None:
    folder.rmdir()
    folder.touch()


def mixed(folder: Path) -> None:
    np.save(folder / "a.npy", ramp(3, 4))
    np.savez(folder / "b.npz", x=ramp(1, 3, 4))


def half_labelled(folder: Path) -> None:
    np.savez(folder / "a.npz", x=ramp(1, 3, 4), labels=np.arange(1))
    np.savez(folder / "b.npz", x=ramp(1, 3, 4))


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str, list[ir.Value]]] = {
    "nothing there": (lambda folder: folder.rmdir(), "there is no such folder; expected a folder, found nothing", [X]),
    "a file": (a_file, "expected a folder, found a file", [X]),
    "empty": (lambda folder: None, "the folder holds no samples; expected files ending in .npz, .npy", [X]),
    "mixed": (mixed, "the folder holds both .npz and .npy files", [X]),
    "two inputs": (lambda folder: np.save(folder / "a.npy", ramp(3, 4)), ".npy files hold one input only", [X, STATE]),
    "a batch dimension more": (
        lambda folder: np.savez(folder / "a.npz", x=ramp(1, 1, 3, 4)),
        "a.npz, input x: wrong shape",
        [X],
    ),
    "wrong size": (
        lambda folder: np.save(folder / "a.npy", ramp(3, 5)),
        "a.npy, input x: wrong shape; expected [?, 3, 4]",
        [X],
    ),
    "wrong dtype": (
        lambda folder: np.save(folder / "a.npy", ramp(3, 4, dtype=int)),
        "a.npy, input x: wrong dtype",
        [X],
    ),
    "unknown input": (
        lambda folder: np.savez(folder / "a.npz", y=ramp(1, 3, 4)),
        "a.npz: the model has no input 'y'",
        [X],
    ),
    "some labelled": (half_labelled, "b.npz: some samples have labels and some have not", [X]),
    "damaged": (lambda folder: (folder / "a.npy").write_bytes(b"no"), "a.npy: cannot be read as an .npy file", [X]),
    "truncated": (
        lambda folder: (folder / "a.npy").write_bytes(npy_bytes((3, 4), "'<f4'", bytes(47))),
        "a.npy: the file is truncated or damaged; expected 48 bytes for shape [3, 4] of float32, found 47 bytes",
        [X],
    ),
    "pickle": (
        lambda folder: (folder / "a.npy").write_bytes(npy_bytes((1,), "'|O'", b"cos\nsystem\n.")),
        "this array holds Python objects",
        [X],
    ),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_folders_that_do_not_fit_are_refused_when_opened(case: str, tmp_path: Path) -> None:
    spoil, message, inputs = BAD_FOLDERS[case]
    folder = tmp_path / "samples"
    folder.mkdir()
    spoil(folder)
    with pytest.raises(DataError, match=re.escape(message)):
        open_samples(DataSource(folder="samples"), tmp_path, inputs)


def test_nan_in_a_folder_is_found_when_it_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", spoiled((0, 0, 1), np.nan)[0])
    samples = open_samples(DataSource(folder="."), tmp_path, [X])
    with pytest.raises(
        DataError, match=re.escape("a.npy, input x: values are NaN or infinite; found nan at [0, 0, 1]")
    ):
        list(samples)


def test_a_metric_needs_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=ramp(2, 3, 4))
    with pytest.raises(DataError, match=r"s\.npz: the metric 'accuracy' needs labels"):
        open_samples(DataSource(npz="s.npz", metric="accuracy"), tmp_path, [X])


def test_inputs_that_no_array_can_feed(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=ramp(2, 3, 4))
    sequence = ir.Value(name="x", type=ir.SequenceType(ir.TensorType(ir.DataType.FLOAT)))
    unranked = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT))
    for wrong, message in ((sequence, "samples can only be given for tensors"), (unranked, "dimensions is not known")):
        with pytest.raises(DataError, match=message):
            open_samples(DataSource(npz="s.npz"), tmp_path, [wrong])
    known = {"x": InputSection(shape=("N", 3, 4), N=(1, 8))}
    assert len(open_samples(DataSource(npz="s.npz"), tmp_path, [unranked], known)) == 2


def test_bfloat16_inputs_take_floats(tmp_path: Path) -> None:
    [feed] = npz(tmp_path, [value("x", (1, 2), ir.DataType.BFLOAT16)], x=np.array([[1.0, 2.5]]))
    assert feed["x"].dtype.name == "bfloat16"
    assert feed["x"].astype(np.float32).tolist() == [[1.0, 2.5]]
