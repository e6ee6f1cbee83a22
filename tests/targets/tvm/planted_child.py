"""The compiler process with defects planted in it: what TVM's C++ code could do wrong, on purpose."""

from __future__ import annotations

import os
import time
from typing import Any

from tamis.targets.tvm import child_main


def abort(arguments: dict[str, Any], report: Any) -> dict[str, Any]:
    """Die as a failed assertion in C++ does, in the middle of a phase."""
    report({"phase": "import", "op": "Conv", "node": "conv_3"})
    os.abort()


def abort_at_relu(arguments: dict[str, Any], report: Any) -> dict[str, Any]:
    """Build, but die while a Relu is converted."""
    from tvm.relax.frontend.onnx import onnx_frontend

    from tamis.targets.tvm.build import build

    def die(*_: Any) -> Any:
        os.abort()

    onnx_frontend.Relu.get_converter = classmethod(lambda cls, opset: die)
    return build(arguments, report)


def sleep(arguments: dict[str, Any], report: Any) -> dict[str, Any]:
    """Hang until someone is tired of it."""
    report({"phase": "generate code"})
    time.sleep(600)
    return {}


child_main.COMMANDS["build"] = "tests.targets.tvm.planted_child:abort_at_relu"
child_main.COMMANDS |= {
    f.__name__: f"tests.targets.tvm.planted_child:{f.__name__}" for f in (abort, abort_at_relu, sleep)
}

if __name__ == "__main__":
    child_main.main()
