"""Files that are made to do harm, each of which must be refused: too many or too large for the corpus, so made when needed."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import onnx

from tests.fuzz.hostile_requests import REQUESTS
from tests.fuzz.lay_out import CORPUS, HUGE, LONG, Maker, fifo, write


def external(location: str, folder: Path, *, offset: int = 0, link: bool = False, function: bool = False) -> None:
    """A model whose weights are elsewhere."""
    (folder.parent / "secret").write_bytes(bytes(4096))
    if link:
        (folder / "inner").symlink_to(folder.parent, target_is_directory=True)
    model = onnx.load(CORPUS / "model" / "external" / "model.onnx", load_external_data=False)
    weight = model.graph.initializer[0]
    del weight.external_data[:]
    for key, value in (("location", location), ("offset", str(offset)), ("length", "1024")):
        weight.external_data.add(key=key, value=value)
    if function:
        body = onnx.FunctionProto(name="f", domain="f", output=["w"])
        body.opset_import.add(domain="", version=17)
        body.node.add(op_type="Constant", output=["w"]).attribute.add(
            name="value", type=onnx.AttributeProto.TENSOR, t=weight
        )
        del model.graph.initializer[:]
        model.opset_import.add(domain="f", version=1)
        model.graph.node.insert(0, onnx.NodeProto(op_type="f", domain="f", output=["W"]))
        model.functions.append(body)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def nested_model(depth: int, folder: Path) -> None:
    """An If inside an If inside ..."""
    graph = onnx.parser.parse_graph("g (float[1] x) => (float[1] y) { y = Relu(x) }").SerializeToString()
    for _ in range(depth):
        attribute = _field(1, b"then_branch") + _field(6, graph) + b"\xa0\x01\x05"
        graph = _field(1, _field(4, b"If") + _field(5, attribute) + _field(2, b"y")) + _field(2, b"g")
    (folder / "model.onnx").write_bytes(b"\x08\x08" + _field(7, graph) + _field(8, b"\x10\x11"))


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes((*found, value))


def huge_weight(folder: Path) -> None:
    model = onnx.load(CORPUS / "model" / "plain" / "model.onnx")
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend((HUGE, HUGE))
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def zipped(file: str, members: Callable[[], list[tuple[str, bytes]]], folder: Path, *, flags: int = 0) -> None:
    """A zip file with any names, doubled ones too."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members():
            archive.writestr(_info(name), data)
    data = sink.getvalue()
    if flags:
        data = data.replace(
            b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00" + struct.pack("<H", flags)
        )
    (folder / file).write_bytes(data)


def _info(name: str) -> zipfile.ZipInfo:
    """Of any name: the constructor would mend it."""
    info = zipfile.ZipInfo()
    info.filename = name
    return info


def bundle_members(*more: tuple[str, bytes], leave: str = "") -> list[tuple[str, bytes]]:
    there = sorted((CORPUS / "bundle" / "valid").iterdir())
    return [*((p.name, p.read_bytes()) for p in there if p.name != leave), *more]


def bomb(file: str, name: str, folder: Path, *, gigabytes: int = 30) -> None:
    """A deflated member that unpacks to many gigabytes, made of one compressed block again and again."""
    compress = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = compress.compress(bytes(1 << 20)) + compress.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    count = gigabytes << 10
    data = block * min(count, 200) + last
    head = _zip64(struct.pack("<QQ", count << 20, len(data)))
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 8, 0, 33, 0, 0xFFFFFFFF, 0xFFFFFFFF, len(name), len(head))
    central = struct.pack(
        "<4s6H3I5H2I", b"PK\1\2", 45, 45, 0, 8, 0, 33, 0, 0xFFFFFFFF, 0xFFFFFFFF, len(name), len(head), 0, 0, 0, 0, 0
    )
    start = local + name.encode() + head + data
    directory = central + name.encode() + head
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(directory), len(start), 0)
    (folder / file).write_bytes(start + directory + end)


def _zip64(sizes: bytes) -> bytes:
    return struct.pack("<2H", 1, len(sizes)) + sizes


def npy(descr: str, shape: str, data: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


class _Payload:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, ("touch /tmp/tamis-was-here",)


def pickled() -> bytes:
    return npy("'|O'", "(1, 3)", pickle.dumps([_Payload()] * 3))


def huge_png(folder: Path) -> None:
    """A PNG that declares 60000 x 60000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">2I5B", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
        + chunk(b"IEND", b"")
    )
    (folder / "a.png").write_bytes(data)


def manifest(change: Callable[[dict[str, object]], None], folder: Path) -> None:
    data = json.loads((CORPUS / "bundle" / "valid" / "bundle.json").read_text())
    change(data)
    (folder / "bundle.json").write_text(json.dumps(data))


def tar(name: str, folder: Path, *, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    with tarfile.open(folder / "cache.tar", "w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, 0 if link else 4
        archive.addfile(info, None if link else io.BytesIO(b"blob"))


def laughs(levels: int) -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines).encode()


BLOB = f"objects/00/{'0' * 64}"
AGAIN = ("golden.npz", b"other")


HOSTILE: Mapping[str, Mapping[str, Maker]] = {
    "recipe": {
        "billion laughs": partial(write, "recipe.yaml", laughs(12)),
        "deep": partial(write, "recipe.yaml", b"a: " + b"[" * 400_000),
        "deep blocks": partial(write, "recipe.yaml", b"\n".join(b" " * i + b"a:" for i in range(1400))),
        "many keys": partial(write, "recipe.yaml", b"\n".join(b"k%d: 1" % i for i in range(25_000))),
        "long scalar": partial(write, "recipe.yaml", b"version: 1\nmodel: " + b"x " * 90_000),
        "long number": partial(write, "recipe.yaml", b"version: 1\nseed: " + b"9" * 900_000),
        "question marks": partial(write, "recipe.yaml", b"? " * 400_000),
        "anchors": partial(write, "recipe.yaml", b"a: [" + b"&a x, " * 150_000 + b"]"),
        "quotes": partial(write, "recipe.yaml", b'"\\x41' * 190_000),
        "long name": partial(write, "recipe.yaml", b"version: 1\nextends: " + LONG.encode() + b".yaml"),
        "tag": partial(write, "recipe.yaml", b"version: !!python/object/apply:os.system ['touch /tmp/tamis-was-here']"),
        "endless": lambda folder: (folder / "recipe.yaml").symlink_to("/dev/zero"),
        "pipe": partial(fifo, "recipe.yaml"),
    },
    "model": {
        "above": partial(external, "../secret"),
        "absolute": lambda folder: external(str(folder.parent / "secret"), folder),
        "by a link": partial(external, "inner/secret", link=True),
        "in a function": partial(external, "../secret", function=True),
        "before the file": partial(external, "weights.bin", offset=-8),
        "behind the file": partial(external, "weights.bin", offset=HUGE),
        "a device": partial(external, "/dev/zero"),
        "huge weight": huge_weight,
        "deep": partial(nested_model, 90),
        "too deep": partial(nested_model, 3_000),
        "pipe": partial(fifo, "model.onnx"),
    },
    "bundle": {
        "model elsewhere": partial(manifest, lambda m: m.update(artifact=["../secret"])),
        "file elsewhere": partial(manifest, lambda m: m.update(files={"../secret": {"sha256": "0" * 64, "bytes": 1}})),
        "no model": partial(manifest, lambda m: m.update(artifact=[])),
        "long name": partial(
            manifest, lambda m: m.update(artifact=[LONG], files={LONG: {"sha256": "0" * 64, "bytes": 1}})
        ),
        "many cases": partial(manifest, lambda m: m.update(golden={"cases": HUGE, "tolerances": {}})),
        "deep": partial(write, "bundle.json", b"[" * 1_000_000),
        "pipe": partial(fifo, "bundle.json"),
        "endless measurements": partial(fifo, "measurements.json"),
    },
    "golden": {
        "pickle": partial(zipped, "golden.npz", lambda: [("0/in/x.npy", pickled())]),
        "huge array": partial(zipped, "golden.npz", lambda: [("0/in/x.npy", npy("'<f4'", f"({HUGE},)"))]),
        "bomb": partial(bomb, "golden.npz", "0/in/x.npy"),
    },
    "zip": {
        "above": partial(zipped, "bundle.zip", lambda: bundle_members(("../evil", b"x"))),
        "absolute": partial(zipped, "bundle.zip", lambda: bundle_members(("/tmp/tamis-was-here", b"x"))),
        "backslashes": partial(zipped, "bundle.zip", lambda: bundle_members(("..\\evil", b"x"))),
        "drive": partial(zipped, "bundle.zip", lambda: bundle_members(("C:evil", b"x"))),
        "twice": partial(zipped, "bundle.zip", lambda: bundle_members(AGAIN)),
        "encrypted": partial(zipped, "bundle.zip", bundle_members, flags=1),
        "a file as a folder": partial(zipped, "bundle.zip", lambda: bundle_members(("bundle.json/x", b"x"))),
        "no name": partial(zipped, "bundle.zip", lambda: bundle_members(("", b"x"))),
        "no manifest": partial(zipped, "bundle.zip", lambda: bundle_members(leave="bundle.json")),
        "many members": partial(zipped, "bundle.zip", lambda: [(f"f{i}", b"") for i in range(10_001)]),
        "bomb": partial(bomb, "bundle.zip", "bundle.json"),
        "small bomb": partial(bomb, "bundle.zip", "bundle.json", gigabytes=10),
        "pipe": partial(fifo, "bundle.zip"),
    },
    "npz": {
        "pickle": partial(zipped, "a.npz", lambda: [("x.npy", pickled())]),
        "huge array": partial(zipped, "a.npz", lambda: [("x.npy", npy("'<f4'", f"({HUGE}, 3)"))]),
        "bomb": partial(bomb, "a.npz", "x.npy"),
        "encrypted": partial(zipped, "a.npz", lambda: [("x.npy", npy("'<f4'", "(1, 3)", bytes(12)))], flags=1),
        "twice": partial(zipped, "a.npz", lambda: [("x.npy", npy("'<f4'", "(1, 3)", bytes(12)))] * 2),
    },
    "feeds": {
        "pickle": partial(zipped, "feeds.npz", lambda: [("x.npy", pickled())]),
        "huge array": partial(zipped, "feeds.npz", lambda: [("x.npy", npy("'<f4'", f"({HUGE},)"))]),
        "bomb": partial(bomb, "feeds.npz", "x.npy"),
        "pipe": partial(fifo, "feeds.npz"),
    },
    "npy": {
        "pickle": partial(write, "a.npy", pickled()),
        "huge array": partial(write, "a.npy", npy("'<f4'", f"({HUGE}, {HUGE})")),
        "huge elements": partial(write, "a.npy", npy("'|V2147483647'", "(2147483647,)")),
        "negative": partial(write, "a.npy", npy("'<f4'", "(-1, 3)")),
        "no data": partial(write, "a.npy", npy("'<f4'", f"(0, {HUGE})")),
        "code": partial(write, "a.npy", npy("__import__('os').system('touch /tmp/tamis-was-here')", "(1, 3)")),
        "deep header": partial(write, "a.npy", npy("(" * 9_000, "(1, 3)")),
    },
    "image": {"huge": huge_png},
    "csv": {
        "long name": partial(write, "a.csv", LONG.encode() + b",1\n"),
        "long field": partial(write, "a.csv", b"x" * 10_000_000),
        "pipe": partial(fifo, "a.csv"),
    },
    "records": {
        "deep": partial(write, "records.jsonl", b"[" * 1_000_000),
        "surrogates": partial(
            write, "records.jsonl", (CORPUS / "records/valid/records.jsonl").read_bytes().replace(b"guard", b"\\ud800")
        ),
        "pipe": partial(fifo, "records.jsonl"),
    },
    "archive": {
        "above": partial(tar, f"../{BLOB}"),
        "absolute": partial(tar, "/tmp/tamis-was-here"),
        "link": partial(tar, BLOB, kind=tarfile.SYMTYPE, link="/etc/passwd"),
        "hard link": partial(tar, BLOB, kind=tarfile.LNKTYPE, link="/etc/passwd"),
        "device": partial(tar, BLOB, kind=tarfile.CHRTYPE),
        "wrong digest": partial(tar, BLOB),
        "pipe": partial(fifo, "cache.tar"),
    },
    **REQUESTS,
}
"""Reader -> name of the case -> what lays it out in a folder that holds a valid case already."""


def hostile(reader: str) -> Iterator[tuple[str, Maker]]:
    yield from HOSTILE.get(reader, {}).items()
