"""``tamis serve`` in a process of its own, asked by Triton's client and by bare HTTP."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tamis
from tamis.compiler.bundle import open_bundle
from tamis.compiler.golden import read_golden

X = np.array([[0.5, 1, 2, 4]], np.float32)


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    """Triton's."""
    from tritonclient.http import InferenceServerClient

    with InferenceServerClient(address) as found:
        yield found


def ask(address: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """Status and JSON of one request: a POST if there is a body."""
    connection = http.client.HTTPConnection(address, timeout=20)
    sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        connection.request(
            "GET" if sent is None else "POST", path, sent, {k.replace("_", "-"): v for k, v in headers.items()}
        )
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("net") and client.is_model_ready("net", "1")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    found = client.get_model_metadata("net", "1")
    assert found["versions"] == ["1"] and found["platform"] == "tamis_onnxruntime"
    assert found["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert found["outputs"][0] == {"name": "y", "datatype": "FP32", "shape": [-1, -1]}


@pytest.mark.parametrize("asks_binary", [False, True])
@pytest.mark.parametrize("sends_binary", [False, True])
def test_infer_gives_what_the_bundle_gives(client: Any, bundles: Path, sends_binary: bool, asks_binary: bool) -> None:
    from tritonclient.http import InferInput, InferRequestedOutput

    given = InferInput("x", [1, 4], "FP32")
    given.set_data_from_numpy(X, binary_data=sends_binary)
    wanted = [InferRequestedOutput(name, binary_data=asks_binary) for name in ("z", "y")]
    found = client.infer("net", [given], outputs=wanted, request_id="seven")
    assert found.get_response()["id"] == "seven"
    expected = tamis.load(bundles / "net")({"x": X})
    for name in ("y", "z"):
        assert np.array_equal(found.as_numpy(name), expected[name])


@pytest.mark.parametrize("binary", [False, True])
def test_every_type_comes_back_as_it_was(client: Any, bundles: Path, binary: bool) -> None:
    from tritonclient.http import InferInput, InferRequestedOutput

    feeds, expected = read_golden(open_bundle(bundles / "copy.zip"))[0]
    given, wanted = [], []
    for tensor in client.get_model_metadata("copy")["inputs"]:
        array = feeds[tensor["name"]]
        kind = tensor["datatype"]
        as_bytes = binary or kind == "FP16"  # the client has no FP16 in JSON
        given.append(InferInput(tensor["name"], list(array.shape), kind))
        given[-1].set_data_from_numpy(array, binary_data=as_bytes)
        wanted.append(InferRequestedOutput(tensor["name"].replace("_in", "_out"), binary_data=as_bytes))
    found = client.infer("copy", given, outputs=wanted)
    for name, array in expected.items():
        got = found.as_numpy(name)
        assert got.dtype == array.dtype and np.array_equal(got, array)


def test_many_at_once_get_their_own_answers(address: str) -> None:
    def one(i: int) -> bool:
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [float(i + 1)] * 4}
        status, found = ask(address, "/v2/models/net/infer", {"id": str(i), "inputs": [tensor]})
        z = found["outputs"][1]["data"]
        return status == 200 and found["id"] == str(i) and np.allclose(z, np.log(i + 1), atol=1e-5)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(40)))


def tensor(**changes: object) -> dict[str, Any]:
    """A request of one tensor that is right but for the changes."""
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4], **changes}]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a request"),
        ({"inputs": 3}, "wrong tensors"),
        ({}, "no array for input 'x'"),
        ({"inputs": tensor()["inputs"] * 2}, "given twice"),
        (tensor(name="y"), "has no input 'y'"),
        (tensor(datatype="FP99"), "wrong datatype"),
        (tensor(datatype="INT32"), "wrong element type"),
        (tensor(datatype="INT8", data=[1, 2, 3, 400]), "out of its range"),
        (tensor(shape=[1, 5]), "data and shape disagree"),
        (tensor(shape=[4, 1]), "wrong shape"),
        (tensor(shape=[1, -4]), "whole numbers"),
        (tensor(shape=[True, 4]), "whole numbers"),
        (tensor(shape=[0, 10**30]), "whole numbers"),
        (tensor(shape=[1] * 70, data=[1]), "too large"),
        (tensor(shape=[2**31 - 1] * 4 + [0], data=[]), "too large"),
        (tensor(data=[[1, 2], [3]]), "equal lengths"),
        (tensor(data=["a", "b", "c", "d"]), "values of FP32"),
        (tensor(data=[1, 2, 3, 1e39]), "out of its range"),
        (tensor(data=[1, 2, 3, 10**400]), "values of FP32"),
        (tensor(data=[1, 2, 3, float("nan")]), "NaN is not JSON"),
        (tensor(data=[0, 2, 3, 4]), "NaN or infinity, which JSON cannot carry"),
        (tensor(parameters={"binary_data_size": 16}), "wrong binary_data_size"),
        (tensor() | {"outputs": [{"name": "w"}]}, "has no output 'w'"),
        (tensor() | {"outputs": [{"name": "y", "parameters": {"classification": 1}}]}, "not supported"),
    ],
)
def test_bad_requests_are_refused_with_a_reason(address: str, body: object, says: str) -> None:
    status, found = ask(address, "/v2/models/net/infer", body)
    assert status == 400, found
    assert says in found["error"]


def test_binary_bodies_must_add_up(address: str) -> None:
    document = tensor(parameters={"binary_data_size": 16})
    del document["inputs"][0]["data"]
    text = json.dumps(document | {"outputs": [{"name": "y"}]}).encode()
    for body, length, status, says in (
        (text + X.tobytes(), len(text), 200, ""),
        (text + X.tobytes() + b"0", len(text), 400, "longer than its tensors"),
        (text + X.tobytes()[:-1], len(text), 400, "binary_data_size"),
        (text, 10**6, 400, "shorter than its header"),
        (text, "-1", 400, "not a length"),
    ):
        found = ask(address, "/v2/models/net/infer", body, Inference_Header_Content_Length=str(length))
        assert found[0] == status and says in found[1].get("error", "")


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/v2/models/nett", None, 404, "did you mean 'net'"),
        ("/v2/models/net/versions/2", None, 404, "no version '2'"),
        ("/v2/models/nett/infer", {}, 404, "no model"),
        ("/v2/models/net/infer", None, 405, "Method Not Allowed"),
        ("/v3", None, 404, "Not Found"),
        ("/v2/models/net/infer", b" " * 1_000_001, 413, "at most 1 MB"),
    ],
)
def test_other_errors_are_json_too(address: str, path: str, body: Any, status: int, says: str) -> None:
    found = ask(address, path, body)
    assert found[0] == status and says in found[1]["error"]


def test_compressed_bodies_are_refused(address: str) -> None:
    status, found = ask(address, "/v2/models/net/infer", b"{}", Content_Encoding="gzip")
    assert status == 415 and "gzip" in found["error"]
