"""Whether the device of a link answers, and what a process that uses it must be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tamis.compiler.link import Link
from tamis.targets.tvm.rpc.device_error import DeviceError
from tamis.targets.tvm.rpc.lease import lease_path
from tamis.targets.tvm.rpc.tracker import silent, tracked, unknown_key

DEVICE_MODEL = Path(__file__).with_name("device_model.py").resolve()
"""The program that runs lowered models on devices."""


def unreachable(link: Link) -> str | None:
    """Why the device of a link ``rpc`` cannot be used, with a hint; None if it answers. Takes a few seconds at most."""
    assert link.address is not None
    if link.key is None:
        return silent(link.address)
    try:
        devices = {entry.key: entry for entry in tracked(link.address)}
    except DeviceError as error:
        return str(error)
    return None if link.key in devices else str(unknown_key(link.address, link.key, devices))


def device_settings(link: Link) -> dict[str, Any]:
    """What ``device_model`` and ``device_worker`` need to find the device: ``address``, ``key`` and ``lease``; JSON data."""
    return {"address": link.address, "key": link.key, "lease": str(lease_path()) if link.key else None}
