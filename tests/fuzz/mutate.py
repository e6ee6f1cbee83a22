"""Small changes of valid files: of their bytes, and of what the bytes mean, so that checksums and lengths still fit."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

import onnx

Mutation = Callable[[bytes, random.Random], bytes]

DEEP = 5_000
NUMBERS = (0, 1, -1, 7, 255, 65536, 2**31 - 1, 2**31, 2**40, -(2**63), 2**63 - 1)
TEXTS = (
    "",
    "x",
    "../secret",
    "/etc/passwd",
    "a/../../b",
    "\0",
    "\ud800",
    "é" * 300,
    "shipped:int8",
    "!!python/none",
    "~",
)
WORDS = (
    *(text.encode("utf-8", "surrogatepass") for text in TEXTS),
    *(n.to_bytes(8, "little", signed=True) for n in NUMBERS),
    *(str(n).encode() for n in NUMBERS),
    *(
        b"[]",
        b"{}",
        b"[[",
        b"&a",
        b"*a",
        b"<<: ",
        b"1e999",
        b"nan",
        b"- ",
        b": ",
        b"\n",
        b"\t",
        b'"',
        b"'",
        b"|",
        b"%",
        b",",
    ),
)


def change_bytes(data: bytes, chance: random.Random) -> bytes:
    """One to four edits anywhere."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        begin = chance.randint(0, len(found))
        end = min(len(found), begin + chance.choice((1, 1, 2, 4, 8, 64)))
        match chance.randrange(6):
            case 0 if begin < len(found):
                found[begin] ^= 1 << chance.randrange(8)
            case 1:
                del found[begin:end]
            case 2:
                found[begin:begin] = found[begin:end] * chance.choice((1, 2, 50))
            case 3:
                found[begin:begin] = chance.choice(WORDS)
            case 4:
                word = chance.choice(WORDS)
                found[begin : begin + len(word)] = word
            case _:
                del found[begin if chance.random() < 0.2 else end :]
    return bytes(found)


def change_json(data: bytes, chance: random.Random) -> bytes:
    """Another value in one place of every line, or of the whole if it is one document."""
    try:
        return json.dumps(_changed(json.loads(data), chance)).encode()
    except ValueError:
        lines = [json.loads(line) for line in data.splitlines()]
        return b"".join(json.dumps(_changed(line, chance)).encode() + b"\n" for line in lines)


def _changed(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        if chance.random() < 0.1:
            others = {k: v for k, v in value.items() if k != key}
            return others if chance.random() < 0.5 else {**others, chance.choice(TEXTS): value[key]}
        return {**value, key: _changed(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.9:
        index = chance.randrange(len(value))
        return [*value[:index], _changed(value[index], chance), *value[index + 1 :]]
    return chance.choice((None, True, 1e308, [], {}, [value], {"a": value}, _nested(), *NUMBERS, *TEXTS))


def _nested() -> list[Any]:
    found: list[Any] = []
    for _ in range(200):
        found = [found]
    return found


def change_zip(data: bytes, chance: random.Random) -> bytes:
    """A zip file with another content, name or number of one member, and right checksums."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    index = chance.randrange(len(members))
    name, content = members[index]
    match chance.randrange(5):
        case 0:
            name = chance.choice(TEXTS).encode("utf-8", "replace").decode() + chance.choice(("", name))
        case 1:
            members.append((name, content))
        case 2 if name.endswith(".json"):
            content = change_json(content, chance)
        case _:
            content = change_bytes(content, chance)
    members[index] = (name, content)
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return sink.getvalue()


def change_model(data: bytes, chance: random.Random) -> bytes:
    """An ONNX model with other values in one to three fields."""
    model = onnx.ModelProto.FromString(data)
    for _ in range(chance.randint(1, 3)):
        _change_message(model, chance)
    return bytes(model.SerializeToString())


def _change_message(message: Any, chance: random.Random) -> None:
    while True:
        fields = message.ListFields()
        if not fields:
            return
        field, value = chance.choice(fields)
        if field.message_type is None:
            break
        child = chance.choice(list(value)) if field.is_repeated else value
        if chance.random() < 0.1:
            _drop_or_double(message, field, value, chance)
            return
        message = child
    if field.is_repeated:
        items = list(value)
        items[chance.randrange(len(items))] = _scalar(field, chance)
        del value[:]
        value.extend(items)
    else:
        setattr(message, field.name, _scalar(field, chance))


def _drop_or_double(message: Any, field: Any, value: Any, chance: random.Random) -> None:
    if field.is_repeated and chance.random() < 0.5:
        value.add().CopyFrom(chance.choice(list(value)))
    else:
        message.ClearField(field.name)


def _scalar(field: Any, chance: random.Random) -> Any:
    if field.cpp_type == field.CPPTYPE_STRING:
        text = chance.choice(TEXTS).encode("utf-8", "replace")
        return text if field.type == field.TYPE_BYTES else text.decode()
    if field.cpp_type == field.CPPTYPE_ENUM:
        return chance.choice([value.number for value in field.enum_type.values])
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return chance.choice((0.0, -1.0, float("nan"), float("inf"), 1e30))
    bits = 32 if field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32) else 64
    low = 0 if field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64) else -(2 ** (bits - 1))
    return chance.choice([n for n in NUMBERS if low <= n < 2 ** (bits - 1)])
