"""Machines by name: ``host`` is detected, the others ship as YAML files."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import yaml
from pydantic import ValidationError

from tamis.compiler import registry
from tamis.compiler.errors import RegistryError
from tamis.compiler.target import Machine

PACKAGE = "tamis.targets.hardware"


def machine_names() -> tuple[str, ...]:
    """Every name that ``find_machine`` knows, detected ones first."""
    return (*registry.table("detectors"), *registry.machine_names())


@cache
def find_machine(name: str) -> Machine:
    """The machine called ``name``; a detected one is detected once a process.

    Raises:
        RegistryError: There is no such machine, or its file is damaged.
    """
    if name in registry.table("detectors"):
        machine: Machine = registry.lookup("detectors", name)()
        return machine
    if name not in registry.machine_names():
        raise registry.unknown("machine", name, machine_names())
    return parse_machine(files(PACKAGE).joinpath(f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")


def parse_machine(text: str, where: str) -> Machine:
    """A machine from the text of its YAML file.

    Args:
        text: The file's content.
        where: Its name, for messages; the machine is called like the file.

    Raises:
        RegistryError: The text is not a machine, or bears another name.
    """
    try:
        machine = Machine.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise RegistryError("the machine's file is damaged", where=where, found=_first_problem(error)) from error
    if f"{machine.name}.yaml" != where:
        raise RegistryError("a machine is called like its file", where=where, found=machine.name)
    return machine


def _first_problem(error: yaml.YAMLError | ValidationError) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        return f"{'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}"
    return " ".join(str(error).split())
