"""TVM's runtime without TVM's compiler, for processes that serve or use its RPC."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path
from typing import Any

RUNTIME = "libtvm_runtime.so"


def load_runtime() -> Any:
    """The module ``tvm_ffi`` with TVM's runtime in this process; it may be there already.

    Raises:
        ImportError: It is not installed.
        OSError: It cannot be loaded.
    """
    import tvm_ffi

    if tvm_ffi.get_global_func("rpc.Connect", allow_missing=True) is None:
        spec = importlib.util.find_spec("tvm")
        folders = [Path(folder) / "lib" for folder in (spec.submodule_search_locations or ())] if spec else []
        found = next((folder / RUNTIME for folder in folders if (folder / RUNTIME).is_file()), None)
        if found is None:
            raise ImportError(f"{RUNTIME} cannot be found: the package apache-tvm is not installed")
        ctypes.CDLL(str(found), ctypes.RTLD_GLOBAL)
    return tvm_ffi
