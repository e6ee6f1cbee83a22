"""The compiler process with an importer that makes a wrong operator of Relu, as TVM does of some real ones."""

from __future__ import annotations

from typing import Any

from tamis.targets.tvm import child_main


def build(arguments: dict[str, Any], report: Any) -> dict[str, Any]:
    """Build with Abs in the place of Relu."""
    from tvm.relax.frontend.onnx import onnx_frontend

    from tamis.targets.tvm.build import build

    onnx_frontend.Relu.get_converter = onnx_frontend.Abs.get_converter
    return build(arguments, report)


child_main.COMMANDS["build"] = "tests.targets.tvm.planted_wrong:build"

if __name__ == "__main__":
    child_main.main()
