"""Archives carry entries to another store; whatever else is in one is refused."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tamis.compiler.cache import archive as module
from tamis.compiler.cache.archive import export_archive, import_archive, matching_keys
from tamis.compiler.cache.check import check_store
from tamis.compiler.cache.entry import Entry, dump
from tamis.compiler.cache.store import Store
from tamis.compiler.errors import OutputError, UsageError
from tamis.compiler.manifest import FileRecord
from tests.compiler.cache.conftest import files, key

SHA = "b9dd960c1753459a78115d3cb845a57d924b6877e805b08bd01086ccdf34433c"
"""Of b"weights"."""


@pytest.fixture
def three(store: Store) -> Store:
    for number in range(3):
        store.put(key(number), "step", {"n": number}, {"own": bytes([number]) * 5000, "all": b"weights"})
    return store


def test_there_and_back(three: Store, tmp_path: Path) -> None:
    seen: list[float] = []
    out = export_archive(three, tmp_path / "a.tar", three.entries.all_keys(), progress=seen.append)
    assert (out.entries, out.blobs, out.bytes, out.left_out) == (3, 4, 15_007, ())
    assert seen[-1] == 1.0
    other = Store(tmp_path / "other")
    assert import_archive(other, tmp_path / "a.tar") == out
    assert [other.get(key(i), check=True) for i in range(3)] == [three.get(key(i)) for i in range(3)]
    assert files(other.folder / "drafts") == []
    again = export_archive(other, tmp_path / "b.tar", other.entries.all_keys())
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert again == out


def test_chosen_keys(three: Store, tmp_path: Path) -> None:
    export_archive(three, tmp_path / "a.tar", matching_keys(three, [key(2)]))
    other = Store(tmp_path / "other")
    import_archive(other, tmp_path / "a.tar")
    assert other.entries.all_keys() == [key(2)]
    assert len(matching_keys(three, [])) == 3
    with pytest.raises(UsageError, match="several keys begin with '00'"):
        matching_keys(three, ["00"])
    with pytest.raises(UsageError, match="no key begins with 'ff'"):
        matching_keys(three, ["ff"])


def test_a_damaged_entry_is_left_out(three: Store, tmp_path: Path) -> None:
    path = three.blobs.path(three.entries.read(key(1)).files["own"])
    path.unlink()
    path.write_bytes(b"x" * 5000)
    out = export_archive(three, tmp_path / "a.tar", three.entries.all_keys())
    assert (out.entries, out.left_out) == (2, (key(1),))
    import_archive(other := Store(tmp_path / "other"), tmp_path / "a.tar")
    assert check_store(other).damaged == ()


def member(name: str, content: bytes = b"weights", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def write(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


BLOB = f"objects/{SHA[:2]}/{SHA}"


@pytest.mark.parametrize(
    "bad",
    [
        member("../../evil"),
        member("/etc/evil"),
        member(f"objects/../{SHA}"),
        member(f"objects/00/{SHA}"),
        member(BLOB.upper()),
        member(f"./{BLOB}"),
        member(f"{BLOB}/x"),
        member(f"{BLOB}.json"),
        member(f"entries/{SHA[:2]}/{SHA}"),
        member(BLOB, b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member(BLOB, b"", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        member(BLOB, b"", type=tarfile.CHRTYPE),
        member(BLOB, b"", type=tarfile.FIFOTYPE),
        member(BLOB, b"", type=tarfile.DIRTYPE),
        member(BLOB, b"weighty"),
        member(BLOB, b""),
        member(f"entries/{SHA[:2]}/{SHA}.json", b"{}"),
        member(f"entries/{SHA[:2]}/{SHA}.json", dump(Entry(key(1), "step", {}, {}))),
        member(
            BLOB, pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "99999999999"}
        ),
    ],
    ids=lambda m: f"{m[0].name[:24]} {m[0].type.decode()}{len(m[1])}",
)
def test_anything_else_is_refused(tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes]) -> None:
    file = write(tmp_path / "a.tar", bad)
    other = Store(tmp_path / "deep" / "er" / "other")
    with pytest.raises(UsageError, match="not an archive of the cache or is damaged"):
        import_archive(other, file)
    assert files(tmp_path) == ["a.tar"]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text[:700],
        lambda text: b"",
        lambda text: b"no tar " * 1000,
        lambda text: text[:100] + b"x" + text[101:],
    ],
    ids=["half", "700", "empty", "text", "header"],
)
def test_a_damaged_archive(three: Store, tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    export_archive(three, tmp_path / "a.tar", three.entries.all_keys())
    (tmp_path / "a.tar").write_bytes(change((tmp_path / "a.tar").read_bytes()))
    other = Store(tmp_path / "other")
    with pytest.raises(UsageError, match=r"a\.tar"):
        import_archive(other, tmp_path / "a.tar")
    assert check_store(other).damaged == ()
    assert files(other.folder / "drafts") == []


def test_any_damage(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    store.put(key(1), "step", {}, {"a": b"weights" * 100})
    export_archive(store, tmp_path / "a.tar", [key(1)])
    good = (tmp_path / "a.tar").read_bytes()[: 5 * 512]
    draw = random.Random(0)
    for number in range(60):
        text = bytearray(good)
        for _ in range(draw.randrange(1, 4)):
            text[draw.randrange(len(text))] = draw.randrange(256)
        header = draw.choice((0, 3 * 512))
        text[header + 148 : header + 156] = b"%06o\0 " % (
            sum(text[header : header + 148]) + 256 + sum(text[header + 156 : header + 512])
        )
        (tmp_path / "b.tar").write_bytes(text)
        other = Store(tmp_path / f"other{number}")
        try:
            import_archive(other, tmp_path / "b.tar")
        except UsageError:
            continue
        assert other.get(key(1), check=True) in (store.get(key(1)), None)
    assert {p.split("/")[0] for p in files(tmp_path)} <= {"a.tar", "b.tar", "cache", *(f"other{i}" for i in range(60))}


@pytest.mark.parametrize(
    "size", [b"\xff" * 12, b"\x80" + b"\xff" * 11, b"-0000000512\0"], ids=["minus", "huge", "text"]
)
@pytest.mark.parametrize("kind", [b"0", b"x", b"L", b"g", b"S"])
def test_sizes_that_cannot_be(tmp_path: Path, size: bytes, kind: bytes) -> None:
    header = bytearray(member(BLOB)[0].tobuf())
    header[124:136] = size
    header[156:157] = kind
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 256 + sum(header[156:512]))
    (tmp_path / "a.tar").write_bytes(bytes(header) + b"weights".ljust(512, b"\0") * 3)
    with pytest.raises(UsageError):
        import_archive(Store(tmp_path / "other"), tmp_path / "a.tar")
    assert files(tmp_path) == ["a.tar"]


def test_a_header_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HEADER", 100_000)
    file = write(tmp_path / "a.tar", member(BLOB, pax_headers={"comment": "x" * 200_000}))
    with pytest.raises(UsageError, match="header is too long"):
        import_archive(Store(tmp_path / "other"), file)


def test_an_entry_without_its_blob_is_left_out(tmp_path: Path) -> None:
    entry = Entry(SHA, "step", {}, {"a": FileRecord(sha256=SHA, bytes=7)})
    file = write(tmp_path / "a.tar", member(f"entries/{SHA[:2]}/{SHA}.json", dump(entry)))
    other = Store(tmp_path / "other")
    assert import_archive(other, file).left_out == (SHA,)
    assert other.entries.all_keys() == []


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        import_archive(Store(tmp_path / "other"), tmp_path / "none.tar")


def test_folders_that_cannot_be_written(three: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError):
        export_archive(three, tmp_path / "file" / "a.tar", three.entries.all_keys())
    export_archive(three, tmp_path / "a.tar", three.entries.all_keys())
    with pytest.raises(OutputError):
        import_archive(Store(tmp_path / "file" / "cache"), tmp_path / "a.tar")
