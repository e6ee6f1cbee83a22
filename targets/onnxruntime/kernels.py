"""Which operators the installed ONNX Runtime knows."""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import onnx_ir as ir


@cache
def known_versions() -> dict[tuple[str, str], tuple[int, ...]]:
    """(Domain, operator) -> the opset versions at which its definition changed, ascending."""
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    found: dict[tuple[str, str], set[int]] = defaultdict(set)
    for schema in get_all_operator_schema():
        found[_domain(schema.domain), schema.name].add(schema.since_version)
    return {key: tuple(sorted(versions)) for key, versions in found.items()}


def unsupported_nodes(model: ir.Model) -> list[str]:
    """One line a node whose operator ONNX Runtime has no definition of at the model's opset."""
    known = known_versions()
    local = {(_domain(domain), name) for domain, name, _ in model.functions}
    lines = []
    for node in model.graph.all_nodes():
        key = (_domain(node.domain), node.op_type)
        if key in local:
            continue
        opset = model.opset_imports.get(node.domain, 1)
        place = f"{node.name or '(no name)'} ({'::'.join(filter(None, key))})"
        if key not in known:
            lines.append(f"{place}: ONNX Runtime does not know this operator")
        elif known[key][0] > opset:
            lines.append(f"{place}: needs opset {known[key][0]}, the model has {opset}")
    return lines


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
