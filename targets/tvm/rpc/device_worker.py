"""What the measuring worker does if candidates are for a device: send one there, check what it computes, time it there.

Runs in a worker process, which keeps its session with the device from one candidate to the next.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tamis.targets.tvm.rpc.device_error import DeviceError
from tamis.targets.tvm.rpc.session import CALL_SECONDS, DeviceSession
from tamis.targets.tvm.tuning.measure_worker import HOPELESS, REPEATS, check, fill

_open: list[DeviceSession] = []
"""The session, if there is one."""


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Measure a library on a device.

    Args:
        request: See ``measure_worker``; besides, ``device``, see ``session``, and ``threads``.

    Returns:
        See ``measure_worker``; ``error`` and ``lost`` if the device cannot be reached.
    """
    try:
        if not _open:
            _open.append(DeviceSession(request["device"], request["threads"]))
        return _measure(_open[0], request)
    except DeviceError as error:
        if error.lost:
            _open.clear()
        if error.phase == "connect":
            return {"error": str(error), "lost": True}
        raise


def _measure(session: DeviceSession, request: dict[str, Any]) -> dict[str, Any]:
    path = Path(request["path"])
    session.upload(path)
    module = session.load(path)
    with session.phase("run", CALL_SECONDS):
        arrays = [
            fill(i, dtype, shape, i in request["constant"]) for i, (dtype, shape) in enumerate(request["arguments"])
        ]
        arguments = [session.tensor(array) for array in arrays]
        module.get_function("main")(*arguments)
        after = [session.array(argument) for argument in arguments]
    check(Path(request["reference"]), arrays, after)
    with session.phase("measure", CALL_SECONDS):
        probe = min(session.seconds(module, "main", arguments, 1, 2)) * 1e6
        if request["best_us"] is not None and probe > HOPELESS * request["best_us"]:
            found = {"us": probe, "probed": True}
        else:
            number = max(1, math.ceil(request["milliseconds"] * 1000 / max(probe, 0.01)))
            found = {"us": min(session.seconds(module, "main", arguments, number, REPEATS)) * 1e6, "probed": False}
        session.remove(path)
    return found
