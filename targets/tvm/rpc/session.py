"""A session with a device. Loads TVM's runtime: for processes of their own only."""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tamis.targets.tvm.rpc.device_error import DeviceError, telling_line
from tamis.targets.tvm.rpc.lease import use_lease
from tamis.targets.tvm.rpc.runtime_library import load_runtime
from tamis.targets.tvm.rpc.tracker import WAIT_SECONDS, parse_address, silent

Array = np.ndarray[Any, np.dtype[Any]]

CPU = 1
"""DLPack's code."""
SESSION_MASK = 128
"""What a session adds to the codes of its devices, for each session before it and itself."""
FASTEST_CORES = 1
"""TVM's mode of choosing cores for its threads."""
CONNECT_SECONDS, LOAD_SECONDS, CALL_SECONDS = 20.0, 120.0, 300.0
UPLOAD_BYTES_PER_SECOND = 500_000.0
"""A slower connection than that is taken for a broken one."""
CAUGHT = "Error caught from RPC call"
"""In messages of TVM about errors on the device; in all others the connection is broken."""
MACHINES = {3: "x86", 62: "x86-64", 40: "32-bit ARM", 183: "aarch64", 243: "RISC-V"}
"""Machine codes of ELF files."""


class DeviceSession:
    """An open session: libraries are uploaded into a folder that goes with it.

    Args:
        device: ``address`` is ``host:port`` of the device, or of the tracker if there is a ``key``, which is what the
            tracker calls the device; ``lease`` is a path for ``use_lease``, if there is a key.
        threads: Of TVM's pool on the device; None: all that it has.
        too_late: Called in another thread when the device gives no answer within a phase's time limit; must end the
            process, since TVM cannot be told to stop waiting. None: whoever uses this process has limits of its own.

    Raises:
        DeviceError: See ``phase``.
    """

    def __init__(
        self,
        device: Mapping[str, str | None],
        threads: int | None = None,
        too_late: Callable[[DeviceError], None] | None = None,
    ) -> None:
        address, key = str(device["address"]), device["key"]
        self.address = f"{key!r} at tracker {address}" if key else address
        self._too_late = too_late
        self._ffi = load_runtime()
        with self.phase("connect", CONNECT_SECONDS + (WAIT_SECONDS if key else 0)):
            if key:
                self._session = use_lease(Path(str(device["lease"])), address, key, self._connect)
            elif (reason := silent(address)) is not None:
                why, _, fix = reason.partition("; ")
                raise DeviceError(address, "connect", why, fix)
            else:
                self._session = self._connect(*parse_address(address), "")
            table = int(self._global("rpc.SessTableIndex")(self._session))
            self.device = self._ffi.device(CPU + SESSION_MASK * (table + 1), 0)
            if threads is not None:
                self.function("runtime.config_threadpool")(FASTEST_CORES, threads)

    def _connect(self, host: str, port: int, secret: str) -> Any:
        return self._global("rpc.Connect")(host, port, secret, False)

    def function(self, name: str) -> Any:
        """A function of TVM on the device."""
        return self._session.get_function(name)

    def upload(self, path: Path) -> None:
        """Send a library; the device has all of it or nothing."""
        data = path.read_bytes()
        with self.phase("upload", CONNECT_SECONDS + len(data) / UPLOAD_BYTES_PER_SECOND):
            self.function("tvm.rpc.server.upload")(path.name, bytearray(data))

    def load(self, path: Path) -> Any:
        """The library that was uploaded from ``path``."""
        with path.open("rb") as file:
            made_for = MACHINES.get(int.from_bytes(file.read(20)[18:], "little"), "another machine")
        with self.phase("load", LOAD_SECONDS, f"check that the device is {made_for}, which the library is for"):
            return self._global("rpc.LoadRemoteModule")(self._session, path.name)

    def remove(self, path: Path) -> None:
        """Remove what was uploaded from ``path``."""
        self.function("tvm.rpc.server.remove")(path.name)

    def tensor(self, array: Array) -> Any:
        """The array on the device."""
        array = np.require(array, requirements="C")
        shape, dtype = self._ffi.Shape(array.shape), self._ffi.dtype(str(array.dtype))
        made = self._global("runtime.TVMTensorAllocWithScope")(shape, dtype, self.device, None)
        if array.nbytes:
            data = array.ctypes.data_as(ctypes.c_void_p)
            self._global("runtime.TVMTensorCopyFromBytes")(made, data, array.nbytes)
        return made

    def array(self, tensor: Any) -> Array:
        """A tensor of the device as an array here."""
        made: Array = np.empty(tuple(tensor.shape), str(tensor.dtype))
        if made.nbytes:
            data = made.ctypes.data_as(ctypes.c_void_p)
            self._global("runtime.TVMTensorCopyToBytes")(tensor, data, made.nbytes)
        return made

    def seconds(self, module: Any, name: str, arguments: Sequence[Any], number: int, repeat: int = 1) -> list[float]:
        """Time of a call by the device's clock: the means of ``number`` calls, ``repeat`` times, after one more call."""
        evaluate = self._global("runtime.RPCTimeEvaluator")(
            module, name, self.device.dlpack_device_type(), 0, number, repeat, 0, 1, 0, 1, 0, ""
        )
        return list(struct.unpack(f"@{repeat}d", evaluate(*arguments)))

    @contextmanager
    def phase(self, name: str, seconds: float, hint: str = "") -> Iterator[None]:
        """Whatever TVM raises inside becomes a ``DeviceError`` of the phase; so does a device that does not answer."""
        timer = threading.Timer(seconds, self._late, (name, seconds))
        timer.daemon = True
        if self._too_late is not None:
            timer.start()
        try:
            yield
        except DeviceError:
            raise
        except Exception as error:  # TVM raises whatever its C++ code does
            raise self._failed(name, error, hint) from error
        finally:
            timer.cancel()

    def _late(self, name: str, seconds: float) -> None:
        assert self._too_late is not None
        reason = f"no answer within {seconds:.0f} s"
        self._too_late(DeviceError(self.address, name, reason, "see whether the device still works", lost=True))

    def _failed(self, phase: str, error: Exception, hint: str) -> DeviceError:
        reason = telling_line(error)
        if CAUGHT in str(error):
            return DeviceError(self.address, phase, reason, hint or "this was raised on the device")
        if phase == "connect":
            fix = "if it is registered with a tracker, give the tracker's address and the key; else see its log"
            return DeviceError(self.address, phase, f"it refused the session ({reason})", fix, lost=True)
        fix = "its server or the session died; see its log, and whether its memory suffices"
        return DeviceError(self.address, phase, f"the connection broke ({reason})", fix, lost=True)

    def _global(self, name: str) -> Any:
        return self._ffi.get_global_func(name)
