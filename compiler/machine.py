"""Find a machine by name: ``host`` is detected, the others are shipped as data."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import yaml

from tamis.compiler.registry import DETECTOR, load_attribute, machine_names, unknown
from tamis.compiler.target import Machine

HOST = "host"


@cache
def find_machine(name: str) -> Machine:
    """The description of a machine.

    Raises:
        RegistryError: No machine of that name.
    """
    if name == HOST:
        machine: Machine = load_attribute(DETECTOR)()
        return machine
    if name not in machine_names():
        raise unknown("machine", name, (HOST, *machine_names()))
    text = files("tamis.targets.hardware").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return Machine.model_validate(yaml.safe_load(text))
