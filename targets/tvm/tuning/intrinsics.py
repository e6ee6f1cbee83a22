"""TVM's tensor instructions, only those of the target: the others take seconds to parse. Runs in the compiler process."""

from __future__ import annotations

import importlib
import sys
import types

import tvm

PACKAGE = "tvm.s_tir.tensor_intrin"
ARM = ("arm_cpu",)
OTHERS = ("metal",)


def load_intrinsics(target: tvm.target.Target) -> None:
    """Import the package with empty modules in the place of what the target has no use for."""
    arm = str(target.attrs.get("mtriple", "")).startswith(("aarch64", "arm"))
    for name in (*OTHERS, *(() if arm else ARM)):
        sys.modules.setdefault(f"{PACKAGE}.{name}", types.ModuleType(f"{PACKAGE}.{name}"))
    for name in ARM if arm else ():
        found = sys.modules.get(f"{PACKAGE}.{name}")
        if found is not None and getattr(found, "__file__", None) is None:
            del sys.modules[f"{PACKAGE}.{name}"]
        importlib.import_module(f"{PACKAGE}.{name}")
    importlib.import_module(PACKAGE)
