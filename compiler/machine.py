"""Find a machine by name: ``host`` is detected, the others ship as data."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import yaml
from pydantic import ValidationError

from tamis.compiler.errors import RegistryError
from tamis.compiler.machine_data import Machine
from tamis.compiler.registry import DETECTOR, load_attribute, machine_names, unknown

HOST = "host"


@cache
def find_machine(name: str) -> Machine:
    """The description of a machine; ``host`` is detected once a process.

    Raises:
        RegistryError: No machine of that name, or its file is damaged.
    """
    if name == HOST:
        machine: Machine = load_attribute(DETECTOR)()
        return machine
    if name not in machine_names():
        raise unknown("machine", name, (HOST, *machine_names()))
    file = f"{name}.yaml"
    return parse_machine(files("tamis.targets.hardware").joinpath(file).read_text(encoding="utf-8"), file)


def parse_machine(text: str, file: str) -> Machine:
    """A machine from the text of its file.

    Args:
        text: YAML.
        file: Name of the file; the machine is called like it.

    Raises:
        RegistryError: The text is not a machine, or bears another name.
    """
    try:
        machine = Machine.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise RegistryError("the description of the machine is damaged", where=file, found=_first(error)) from error
    if f"{machine.name}.yaml" != file:
        raise RegistryError("a machine must be called like its file", where=file, found=machine.name)
    return machine


def _first(error: yaml.YAMLError | ValidationError) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        return f"{'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}"
    return " ".join(str(error).split())
