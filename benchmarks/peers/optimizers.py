"""Other optimizers behind one signature: take a model file and its shapes, leave a better model file.

Each is called as its documentation says a user would, with its defaults. None of them is given data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx

Shapes = Mapping[str, list[int]]
Optimizer = Callable[[Path, Path, Shapes], None]


def by_onnxsim(source: Path, result: Path, shapes: Shapes) -> None:
    """onnxsim, with the shapes fixed."""
    import onnxsim

    simple, _ = onnxsim.simplify(onnx.load(source), overwrite_input_shapes=dict(shapes))
    onnx.save(simple, result)


def by_onnxslim(source: Path, result: Path, shapes: Shapes) -> None:
    """onnxslim, with the shapes fixed."""
    import onnxslim

    fixed = [f"{name}:{','.join(map(str, shape))}" for name, shape in shapes.items() if shape]
    onnxslim.slim(str(source), str(result), model_check=False, input_shapes=fixed)


def by_onnxscript(source: Path, result: Path, shapes: Shapes) -> None:
    """onnxscript's optimizer: folding and its default rewrite rules."""
    import onnx_ir as ir
    import onnxscript.optimizer
    from onnxscript import rewriter

    model = ir.load(source)
    onnxscript.optimizer.optimize(model)
    ir.save(rewriter.rewrite(model), result)


def by_transformer_optimizer(source: Path, result: Path, shapes: Shapes) -> None:
    """ONNX Runtime's transformer optimizer; it finds the number of heads itself where it can."""
    from onnxruntime.transformers import optimizer

    optimizer.optimize_model(str(source), model_type="bert", opt_level=0).save_model_to_file(str(result))


OPTIMIZERS: dict[str, Optimizer] = {
    "onnxsim": by_onnxsim,
    "onnxslim": by_onnxslim,
    "onnxscript": by_onnxscript,
    "transformers": by_transformer_optimizer,
}
