"""The results of a build as JUnit XML, for continuous integration: a test case a job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as xml

from tamis.compiler.building.job import Job, Result

ALLOWED = {"\t", "\n", "\r"}


def junit(jobs: Sequence[Job], results: Sequence[Result]) -> str:
    """The document: a missed budget is a failure, what failed is an error, what was not run is skipped."""
    pairs = list(zip(jobs, results, strict=True))
    counts = {
        "tests": str(len(pairs)),
        "failures": str(sum(r.verdict == "missed budget" for r in results)),
        "errors": str(sum(r.verdict == "failed" for r in results)),
        "skipped": str(sum(r.verdict == "not run" for r in results)),
        "time": f"{sum(r.seconds for r in results):.3f}",
    }
    root = xml.Element("testsuites", counts)
    suite = xml.SubElement(root, "testsuite", {"name": "tamis build", **counts})
    for job, result in pairs:
        model, recipe, target = (_clean(name) for name in job.names)
        name = {"classname": model, "name": f"{recipe}/{target}", "time": f"{result.seconds:.3f}"}
        case = xml.SubElement(suite, "testcase", name)
        kind = {"missed budget": "failure", "failed": "error", "not run": "skipped"}.get(result.verdict)
        if kind is not None:
            xml.SubElement(case, kind, {"message": _clean(result.reason or result.verdict), "type": result.verdict})
    xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n"


def write_junit(path: Path, jobs: Sequence[Job], results: Sequence[Result]) -> None:
    """Write the document, whole or not at all.

    Raises:
        OutputError, WriteError: ``path`` cannot be written.
    """
    from tamis.compiler.staging import staged_file

    with staged_file(path) as place:
        place.write_text(junit(jobs, results), encoding="utf-8")


def _clean(text: str) -> str:
    """Without the characters that XML does not have."""
    return "".join(c if c >= " " or c in ALLOWED else "?" for c in text)
