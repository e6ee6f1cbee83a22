"""Entries are read as they were written, and nothing else is read."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.compiler.cache.entry import MAX_FILES, Entry, EntryError, check_name, dump, parse
from tamis.compiler.manifest import FileRecord

KEY = "ab" * 32
BLOB = FileRecord(sha256="cd" * 32, bytes=7)
ENTRY = Entry(KEY, "step", {"label": "fuse", "list": [1, 2.5, None, "é"]}, {"graph.onnx": BLOB, "weights/0": BLOB})


def signed(body: dict[str, Any]) -> bytes:
    """The text of a body with the digest that fits it, as an attacker would write it."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps({**body, "sha256": digest}).encode()


def body() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(dump(ENTRY))
    del found["sha256"]
    return found


def test_what_is_written_is_read() -> None:
    assert parse(dump(ENTRY), KEY) == ENTRY
    assert ENTRY.bytes == 7
    assert parse(signed(body()), KEY) == ENTRY


def test_every_flipped_bit_is_seen() -> None:
    text = dump(ENTRY)
    for index in range(len(text)):
        flipped = bytearray(text)
        flipped[index] ^= 1
        try:
            assert parse(bytes(flipped), KEY) == ENTRY  # in white space only
        except EntryError:
            continue
        assert text[index : index + 1] == b" ", index


@pytest.mark.parametrize("end", [0, 1, 40, -1])
def test_a_truncated_text(end: int) -> None:
    with pytest.raises(EntryError):
        parse(dump(ENTRY)[:end], KEY)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/../b", "/etc/passwd", "a//b", "./a", "a/", "a\\..\\b", "C:x", "C:/x", "a\0b", "a\nb", 7],
)
def test_names_stay_in_their_folder(name: Any) -> None:
    refused(name)


@pytest.mark.parametrize("name", ["a" * 256, "b/" + "é" * 128, "\ud800"], ids=["long", "long part", "half a character"])
def test_names_that_no_file_can_have(name: str) -> None:
    refused(name)


def refused(name: Any) -> None:
    with pytest.raises(EntryError):
        check_name(name)
    with pytest.raises(EntryError):
        parse(signed({**body(), "files": {str(name): BLOB.model_dump()}}) if name != 7 else b"7", KEY)


@pytest.mark.parametrize("name", ["a", "a.b", "a/b/c.onnx", "..a", "a..b", "-rf", "Grüße 1"])
def test_names_that_may_be(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"key": "cd" * 32},
        {"kind": None},
        {"data": []},
        {"files": None},
        {"files": {"a": None}},
        {"files": {name: {"sha256": "ab" * 32, "bytes": 1} for name in ("a", "a/b/c")}},
        {"files": {"a": {"sha256": "../../x", "bytes": 1}}},
        {"files": {"a": {"sha256": "AB" * 32, "bytes": 1}}},
        {"files": {"a": {"sha256": "ab" * 32 + "\n", "bytes": 1}}},
        {"files": {"a": {"sha256": "ab" * 32, "bytes": -1}}},
        {"files": {"a": {"sha256": "ab" * 32, "bytes": True}}},
        {"files": {"a": {"sha256": "ab" * 32, "bytes": 1e300}}},
        {"files": {"a": {"sha256": "ab" * 32, "bytes": 1 << 60}}},
    ],
    ids=str,
)
def test_a_wrong_body(change: dict[str, Any]) -> None:
    with pytest.raises(EntryError):
        parse(signed({**body(), **change}), KEY)


def test_too_many_files() -> None:
    record = {"sha256": "ab" * 32, "bytes": 1}
    parse(signed({**body(), "files": {str(i): record for i in range(MAX_FILES)}}), KEY)
    with pytest.raises(EntryError):
        parse(signed({**body(), "files": {str(i): record for i in range(MAX_FILES + 1)}}), KEY)


@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b"1" * 10_000, b"\xff\xfe", b'{"a":' * 50_000, b" " * (9 << 20)],
    ids=["deep", "digits", "no text", "deep objects", "large"],
)
def test_a_hostile_text(text: bytes) -> None:
    with pytest.raises(EntryError):
        parse(text, KEY)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes(text: bytes) -> None:
    with pytest.raises(EntryError):
        parse(text, KEY)


@pytest.mark.parametrize("key", ["", "a", "../" + "a" * 61, "A" * 64])
def test_a_key_is_a_digest(key: str) -> None:
    with pytest.raises(EntryError):
        dump(Entry(key, "step", {}, {}))
