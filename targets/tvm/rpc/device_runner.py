"""Measures built candidates on a device: the twin of ``tuning.runner``. Runs in the compiler process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tamis.targets.tvm.tuning.runner import Runner
from tamis.targets.tvm.tuning.workers import Nursery

MODULE = "tamis.targets.tvm.rpc.device_worker"
SECONDS = 120.0
"""Time limit of one measurement: connecting, uploading and loading included, and devices are slower than we are."""


class DeviceLost(Exception):
    """The device cannot be reached: no further candidate can be measured. What was found so far is stored."""


class DeviceRunner(Runner):
    """The worker that measures on a device; use it as a context manager.

    Args:
        nursery: Starts it.
        device: See ``session``.
        threads: Of a kernel, on the device.
        seconds: Time limit of a measurement.
    """

    def __init__(self, nursery: Nursery, device: Mapping[str, Any], threads: int, seconds: float = SECONDS) -> None:
        super().__init__(nursery, seconds, MODULE, least_seconds=seconds)
        self._device, self._threads = dict(device), threads

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """See ``Runner.ask``; what is timed on a device may run beside others here.

        Raises:
            DeviceLost: The device cannot be reached.
        """
        reply = self.send({**request, "device": self._device, "threads": self._threads}, seconds)
        if reply.get("lost"):
            raise DeviceLost(reply["error"])
        return reply
