"""Which operators the installed ONNX Runtime can run on the CPU: read from its own tables, never listed here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache

import onnx
import onnx_ir as ir

from tamis.targets.onnxruntime.session import import_onnxruntime

Key = tuple[str, str]
"""Domain (the ONNX operators: an empty string) and operator."""


@cache
def definitions() -> dict[Key, tuple[int, ...]]:
    """Operator -> the opset versions at which its definition changed, ascending."""
    import_onnxruntime()
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    found: dict[Key, set[int]] = defaultdict(set)
    for schema in get_all_operator_schema():
        found[_domain(schema.domain), schema.name].add(schema.since_version)
    return {key: tuple(sorted(versions)) for key, versions in found.items()}


@cache
def kernels() -> dict[Key, tuple[tuple[int, int], ...]]:
    """Operator -> the ranges (first, last) of definition versions that have a CPU kernel for some element type."""
    import_onnxruntime()
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_opkernel_def

    found: dict[Key, set[tuple[int, int]]] = defaultdict(set)
    for kernel in get_all_opkernel_def():
        if kernel.provider == "CPUExecutionProvider":
            found[_domain(kernel.domain), kernel.op_name].add(tuple(kernel.version_range))
    return {key: tuple(sorted(ranges)) for key, ranges in found.items()}


def unsupported_nodes(model: ir.Model) -> list[str]:
    """One line a node that has no CPU kernel at the model's opset: name, operator, reason.

    Nodes of subgraphs and of the model's own functions count. Whether a kernel takes the node's element
    types shows only when a session is made: ONNX Runtime may insert casts.
    """
    local = {(_domain(domain), name) for domain, name, _ in model.functions}
    lines = []
    for node, opsets in _nodes(model):
        key = (_domain(node.domain), node.op_type)
        reason = None if key in local else _reason(key, opsets)
        if reason is not None:
            lines.append(f"{node.name or '(no name)'} ({'::'.join(filter(None, key))}): {reason}")
    return lines


def _nodes(model: ir.Model) -> Iterator[tuple[ir.Node, Mapping[str, int]]]:
    scopes: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for scope in scopes:
        opsets = {_domain(domain): version for domain, version in scope.opset_imports.items()}
        yield from ((node, opsets) for node in scope.all_nodes())


def _reason(key: Key, opsets: Mapping[str, int]) -> str | None:
    opset = opsets.get(key[0], 1)
    if key not in definitions():
        return "onnxruntime does not know this operator"
    known = [version for version in definitions()[key] if version <= opset]
    if not known:
        return f"needs opset {definitions()[key][0]}, the model has {opset}"
    if any(first <= known[-1] <= last for first, last in kernels().get(key, ())) or _has_body(key, opset):
        return None
    return f"onnxruntime has no CPU kernel for it at opset {opset}"


def _has_body(key: Key, opset: int) -> bool:
    """Whether ONNX defines the operator by others, which ONNX Runtime then runs instead."""
    domain, name = key
    if not onnx.defs.has(name, domain=domain, max_inclusive_version=opset):
        return False
    schema = onnx.defs.get_schema(name, domain=domain, max_inclusive_version=opset)
    # missing from onnx's type stubs
    return bool(schema.has_function or schema.has_context_dependent_function)  # type: ignore[attr-defined]


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
