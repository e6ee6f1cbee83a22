"""Take nodes out of a region as long as that makes it no dearer."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace

import onnx_ir as ir

from tamis.passes.layout.transpose_region import Cost, Readers, Region


def peel(region: Region) -> None:
    """Remove, from the border inwards, nodes without which there are fewer Transposes, or as many and no larger ones.

    A node is looked at again only when what stands around it has changed in kind, which happens a few times a value.
    """
    queue = deque(reversed(region.nodes))
    waiting = set(queue)
    while queue:
        node = queue.popleft()
        waiting.discard(node)
        if node not in region.nodes or _gain(region, node) > (0, 0):
            continue
        for value in _remove(region, node):
            for other in _around(value):
                if other in region.nodes and other not in waiting:
                    waiting.add(other)
                    queue.append(other)


def _gain(region: Region, node: ir.Node) -> Cost:
    """How much dearer the region is without ``node``."""
    count = weight = 0
    for value, reads in _inputs(region, node).items():
        inside = region.is_inside(value)
        old = region.cost(value, inside=inside)
        new = region.cost(value, inside=inside, readers=_released(region.readers[value], reads))
        count, weight = count + new[0] - old[0], weight + new[1] - old[1]
    for value in _outputs(region, node):
        old, new = region.cost(value, inside=True), region.cost(value, inside=False)
        count, weight = count + new[0] - old[0], weight + new[1] - old[1]
    return count, weight


def _remove(region: Region, node: ir.Node) -> list[ir.Value]:
    """Take ``node`` out; returns the values whose cost now depends on other things than before."""
    changed = _outputs(region, node)
    for value, reads in _inputs(region, node).items():
        old = region.readers[value]
        new = region.readers[value] = _released(old, reads)
        if not new.inside or not old.outside:
            changed.append(value)
    del region.nodes[node]
    return changed


def _released(readers: Readers, reads: int) -> Readers:
    return replace(readers, inside=readers.inside - reads, outside=readers.outside + reads)


def _inputs(region: Region, node: ir.Node) -> Counter[ir.Value]:
    """Values that ``node`` reads in their turned form, and how often."""
    pairs = zip(node.inputs, region.nodes[node].inputs, strict=True)
    return Counter(value for value, perm in pairs if value is not None and perm is not None and value in region.perms)


def _outputs(region: Region, node: ir.Node) -> list[ir.Value]:
    return [value for value in node.outputs if value in region.perms]


def _around(value: ir.Value) -> list[ir.Node]:
    producer = value.producer()
    readers = [use.node for use in value.uses()]
    return readers if producer is None else [producer, *readers]
