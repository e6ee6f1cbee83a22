"""The bill of materials of a bundle: CycloneDX 1.6, with a model card.

All of it follows from the manifest: no clock, no random number, and nothing of the machine that writes it, so the same
bundle gives the same document. The serial number is a UUID (version 5) of the manifest's digest.

References: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from tamis.compiler.bundle import MANIFEST, Bundle, file_record
from tamis.compiler.errors import TargetUnavailableError
from tamis.compiler.manifest import FileRecord, Manifest

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

NAMESPACE = UUID("6f0d2c3e-3b1b-5b52-9a7e-0c6f5d1f7a52")
"""Of serial numbers."""
BUNDLE_REF = "bundle"
CONTENT = "weights"
"""Under this name the manifest has the digest of the model's content, which is no digest of a file."""
TOOLS_OF_THEIR_OWN = {"python"}
"""Versions in the manifest that are no package of an index."""
_VERSION = re.compile(r"\d+(\.\d+)+([-+.]?[A-Za-z0-9]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def bill_of_materials(bundle: Bundle) -> str:
    """The document as JSON text.

    Args:
        bundle: With checked digests.

    Raises:
        TargetUnavailableError: cyclonedx-python-lib is not installed.
    """
    try:
        from cyclonedx.model.bom import Bom, BomMetaData
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.model.tool import ToolRepository
        from cyclonedx.output.json import JsonV1Dot6
    except ImportError as error:
        raise TargetUnavailableError(
            "cyclonedx-python-lib is not installed", fix="pip install 'tamis[sbom]'"
        ) from error
    report, record = bundle.report, file_record(bundle.folder / MANIFEST)
    main = Component(
        name=report.model,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=BUNDLE_REF,
        version=f"sha256:{record.sha256}",
        description=f"{report.model} compiled for {report.target.name} by tamis",
        properties=_properties(report),
        components=_files({**report.files, MANIFEST: record}),
    )
    packages = _packages(report)
    sources = _sources(report)
    bom = Bom(
        serial_number=uuid5(NAMESPACE, record.sha256),
        metadata=BomMetaData(component=main, tools=ToolRepository(components=_tools(report))),
        components=[*packages, *sources],
    )
    bom.register_dependency(main, [*packages, *sources])
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    del document["metadata"]["timestamp"]
    document["metadata"]["component"]["modelCard"] = model_card(bundle)
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def model_card(bundle: Bundle) -> dict[str, Any]:
    """Inputs, outputs and figures of the manifest, as CycloneDX has them; the library has no class for it."""
    report = bundle.report
    inputs = [{"format": f"{n}: {r.dtype}[{', '.join(map(str, r.shape))}]"} for n, r in sorted(report.inputs.items())]
    figures: list[dict[str, str]] = []
    if report.accuracy is not None:
        found = report.accuracy
        figures += [
            {"type": found.metric, "value": repr(found.before), "slice": "evaluation data, model as given"},
            {"type": found.metric, "value": repr(found.after), "slice": "evaluation data, bundle"},
        ]
    if report.sqnr_db is not None:
        figures.append({"type": "sqnr_db", "value": repr(report.sqnr_db), "slice": "bundle against the model as given"})
    if report.drift is not None:
        figures.append(
            {"type": "normwise relative error", "value": repr(report.drift), "slice": "bundle, user's samples"}
        )
    card: dict[str, Any] = {
        "modelParameters": {"inputs": inputs, "outputs": [{"format": name} for name in report.outputs]},
        "properties": [
            {"name": f"tamis:step:{i:02d}:{s.name}", "value": f"{s.contract}, {s.verdict}"}
            for i, s in enumerate(report.steps)
        ],
    }
    return {**card, "quantitativeAnalysis": {"performanceMetrics": figures}} if figures else card


def _properties(report: Manifest) -> list[Any]:
    from cyclonedx.model import Property

    target = report.target
    pairs = {
        "tamis:machine": target.name,
        "tamis:runtime": target.runtime,
        "tamis:link": target.link.kind,
        "tamis:executed": json.dumps(target.executed),
        "tamis:golden-cases": str(report.golden.cases),
    }
    return [Property(name=name, value=value) for name, value in pairs.items()]


def _files(records: Mapping[str, FileRecord]) -> list[Component]:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    return [
        Component(
            name=name,
            type=ComponentType.FILE,
            bom_ref=f"file:{name}",
            hashes=[_sha256(record.sha256)],
            properties=[Property(name="tamis:bytes", value=str(record.bytes))],
        )
        for name, record in sorted(records.items())
    ]


def _sources(report: Manifest) -> list[Component]:
    """What was read: the model and the data, by digest; digests of contents, as of all weights, are properties."""
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    found = []
    for name, digest in sorted(report.source.items()):
        known = _SHA256.fullmatch(digest) is not None and name != CONTENT
        found.append(
            Component(
                name=name,
                type=ComponentType.MACHINE_LEARNING_MODEL if name == report.model else ComponentType.DATA,
                bom_ref=f"source:{name}",
                description=_described(name, report),
                hashes=[_sha256(digest)] if known else [],
                properties=[] if known else [Property(name="tamis:digest", value=digest)],
            )
        )
    return found


def _described(name: str, report: Manifest) -> str:
    if name == report.model:
        return "the model as given"
    return "structure and weights of the model as given" if name == CONTENT else "read by the build"


def _sha256(digest: str) -> Any:
    from cyclonedx.model import HashAlgorithm, HashType

    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _versions(report: Manifest) -> dict[str, str]:
    """Everything with a version: what the manifest names, and the libraries of the runtime in the fingerprint."""
    runtime = {
        n: v for n, v in report.target.fingerprint.items() if _VERSION.fullmatch(v) and report.target.runtime in n
    }
    return {**runtime, **report.versions, "tamis": report.tamis}


def _packages(report: Manifest) -> list[Component]:
    """What a machine needs to run the bundle: numpy and the runtime's libraries."""
    versions = _versions(report)
    names = ["numpy", *(n for n in versions if report.target.runtime in n)]
    return [_package(name, versions[name], "runtime") for name in sorted(set(names)) if name in versions]


def _tools(report: Manifest) -> list[Component]:
    return [_package(name, version, "tool") for name, version in sorted(_versions(report).items())]


def _package(name: str, version: str, role: str) -> Component:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    kind = "generic" if name in TOOLS_OF_THEIR_OWN else "pypi"
    return Component(
        name=name,
        type=ComponentType.APPLICATION if role == "tool" else ComponentType.LIBRARY,
        bom_ref=f"{role}:{name}",
        version=version,
        purl=PackageURL(type=kind, name=name, version=version),
    )
