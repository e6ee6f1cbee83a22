"""The body of ``infer``: what a request asks for, and what it gets.

With the binary tensor extension the JSON document comes first, as long as ``Inference-Header-Content-Length`` says, and the
tensors that have ``binary_data_size`` follow it in their order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tamis.compiler.errors import DataError
from tamis.compiler.serving.tensors import (
    DTYPES,
    TEXT,
    Array,
    checked_shape,
    datatype_of,
    from_bytes,
    from_json,
    to_bytes,
    to_json,
)

UNSUPPORTED = ("classification", "shared_memory_region")


@dataclass(frozen=True)
class InferRequest:
    """What a request asks for.

    Args:
        id: Comes back with the answer; None without one.
        feeds: Input name -> array.
        outputs: Output name -> whether its bytes are asked for; empty for all outputs.
        binary: Whether bytes are asked for where ``outputs`` says nothing.
    """

    id: str | None
    feeds: dict[str, Array]
    outputs: dict[str, bool]
    binary: bool


def parse_request(body: bytes, header_length: str | None) -> InferRequest:
    """Read the body of a request.

    Args:
        body: All of it.
        header_length: Value of ``Inference-Header-Content-Length``, if it was sent.

    Raises:
        DataError: It is not a request, or its tensors make no sense.
    """
    length = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit() and len(header_length) < 16):
            raise DataError("is not a length", where="Inference-Header-Content-Length", found=f"{header_length!r:.50}")
        length = int(header_length)
        if length > len(body):
            raise DataError("the body is shorter than its header", expected=f"{length} bytes", found=str(len(body)))
    document = _document(body[:length])
    rest = memoryview(body)[length:]
    feeds: dict[str, Array] = {}
    for tensor in _tensors(document, "inputs"):
        name = tensor["name"]
        if name in feeds:
            raise DataError("is given twice", where=f"input {name!r:.100}")
        feeds[name], used = _array(tensor, rest)
        rest = rest[used:]
    if len(rest):
        raise DataError("the body is longer than its tensors", found=f"{len(rest)} bytes more")
    parameters = _parameters(document, "request")
    outputs = {
        t["name"]: bool(_parameters(t, f"output {t['name']!r:.100}").get("binary_data", False))
        for t in _tensors(document, "outputs")
    }
    given = document.get("id")
    if given is not None and not isinstance(given, str):
        raise DataError("wrong id", expected="a text", found=f"{given!r:.50}")
    return InferRequest(given, feeds, outputs, bool(parameters.get("binary_data_output", False)))


def _document(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise DataError("the body is not JSON", found=f"{error!s:.200}") from error
    if not isinstance(found, dict):
        raise DataError("the body is not a request", expected="an object", found=type(found).__name__)
    return found


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _tensors(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = document.get(key, [])
    if not isinstance(found, list) or not all(isinstance(t, dict) and isinstance(t.get("name"), str) for t in found):
        raise DataError("wrong tensors", where=key, expected="a list of objects with a name", found=f"{found!r:.100}")
    return found


def _parameters(tensor: Mapping[str, Any], where: str) -> dict[str, Any]:
    found = tensor.get("parameters", {})
    if not isinstance(found, dict):
        raise DataError("wrong parameters", where=where, expected="an object", found=f"{found!r:.100}")
    if unknown := [name for name in UNSUPPORTED if name in found]:
        raise DataError(f"{unknown[0]} is not supported", where=where)
    return found


def _array(tensor: Mapping[str, Any], rest: memoryview) -> tuple[Array, int]:
    """The array of a tensor, and how many bytes of ``rest`` it is made of."""
    where = f"input {tensor['name']!r:.100}"
    datatype = tensor.get("datatype")
    if datatype != TEXT and (not isinstance(datatype, str) or datatype not in DTYPES):
        raise DataError("wrong datatype", where=where, expected=", ".join((*DTYPES, TEXT)), found=f"{datatype!r:.50}")
    shape = checked_shape(tensor.get("shape"), where)
    size = _parameters(tensor, where).get("binary_data_size")
    if size is None:
        return from_json(tensor.get("data"), datatype, shape, where), 0
    if type(size) is not int or not 0 <= size <= len(rest):
        raise DataError("wrong binary_data_size", where=where, expected=f"0 to {len(rest)}", found=f"{size!r:.50}")
    if "data" in tensor:
        raise DataError("has data twice", where=where, expected="data or binary_data_size")
    return from_bytes(rest[:size], datatype, shape, where), size


def render_response(
    request: InferRequest, model: str, version: str, outputs: Mapping[str, Array]
) -> tuple[bytes, int | None]:
    """The body of the answer, and the length of the JSON in it if bytes follow.

    Raises:
        DataError: An output cannot be written as JSON.
    """
    tensors: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for name, array in outputs.items():
        where = f"output {name!r}"
        tensor: dict[str, Any] = {"name": name, "datatype": datatype_of(array.dtype, where), "shape": list(array.shape)}
        if request.outputs.get(name, request.binary):
            parts.append(to_bytes(array))
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            tensor["data"] = to_json(array, where)
        tensors.append(tensor)
    document: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": tensors}
    if request.id is not None:
        document["id"] = request.id
    text = json.dumps(document, separators=(",", ":")).encode()
    return b"".join((text, *parts)), len(text) if parts else None
