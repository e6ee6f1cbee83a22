"""Machines by name."""

from __future__ import annotations

import pytest

from tamis.compiler.errors import RegistryError
from tamis.compiler.machine import find_machine, parse_machine
from tamis.compiler.registry import machine_names


@pytest.mark.parametrize("name", ["host", *machine_names()])
def test_every_machine_is_described(name: str) -> None:
    machine = find_machine(name)
    assert machine.name == name
    assert machine.cores <= machine.threads
    assert machine.isa == tuple(sorted(machine.isa))
    assert machine.runtimes[0] == "onnxruntime"
    assert machine.channel_multiple in (8, 16)


def test_what_saturates() -> None:
    assert find_machine("x86-64-avx2").int8.saturates
    assert not find_machine("x86-64-avx512-vnni").int8.saturates
    assert find_machine("cortex-a76").int8.pair == "s8s8"


def test_an_unknown_machine() -> None:
    with pytest.raises(RegistryError, match=r"no machine 'cortex-a27' \(did you mean 'cortex-a7[26]'\?\)"):
        find_machine("cortex-a27")


@pytest.mark.parametrize("text", ["name: [", "name: x", "{}"])
def test_a_damaged_description(text: str) -> None:
    with pytest.raises(RegistryError, match="damaged"):
        parse_machine(text, "x.yaml")
