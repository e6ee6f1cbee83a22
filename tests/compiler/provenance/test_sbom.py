"""The bill of materials, held against CycloneDX's own schema."""

from __future__ import annotations

import json
import os
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tamis.compiler.bundle import file_record, open_bundle
from tamis.compiler.provenance.sbom import bill_of_materials
from tests.toy_bundle import write_bundle


def test_document_is_valid_and_complete(tmp_path: Path) -> None:
    text = bill_of_materials(open_bundle(write_bundle(tmp_path / "b")))
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"modelCard"', '"modelCart"')) is not None
    document = json.loads(text)
    main = document["metadata"]["component"]
    assert main["type"] == "machine-learning-model"
    found = {c["name"]: c["hashes"][0]["content"] for c in main["components"]}
    names = ("bundle.json", "golden.npz", "model.onnx")
    assert found == {name: file_record(tmp_path / "b" / name).sha256 for name in names}
    card = main["modelCard"]
    assert card["modelParameters"]["inputs"] == [{"format": "x: float32[N, 4]"}]
    metrics = [(m["type"], m["value"]) for m in card["quantitativeAnalysis"]["performanceMetrics"]]
    assert metrics == [("accuracy", "0.9"), ("accuracy", "0.875"), ("normwise relative error", "1e-07")]
    components = {c["name"]: c for c in document["components"]}
    assert set(components) == {"numpy", "onnxruntime", "some model.onnx", "weights", "data.npz"}
    assert components["data.npz"]["hashes"] == [{"alg": "SHA-256", "content": "c" * 64}]
    assert "hashes" not in components["weights"]
    tools = {c["purl"] for c in document["metadata"]["tools"]["components"]}
    assert tools == {
        "pkg:pypi/numpy@2.4.6",
        "pkg:pypi/onnxruntime@1.30.0",
        "pkg:pypi/tamis@0.1.0",
        "pkg:generic/python@3.12.1",
    }


def test_same_bundle_gives_the_same_document(tmp_path: Path) -> None:
    first = bill_of_materials(open_bundle(write_bundle(tmp_path / "a")))
    other = write_bundle(tmp_path / "b")
    (other / "measurements.json").write_text('{"x": 1}')
    os.utime(other / "bundle.json", (1, 1))
    assert bill_of_materials(open_bundle(other)) == first
    third = write_bundle(tmp_path / "c", settings={"threads": 3})
    changed = json.loads(bill_of_materials(open_bundle(third)))
    assert changed["serialNumber"] != json.loads(first)["serialNumber"]
