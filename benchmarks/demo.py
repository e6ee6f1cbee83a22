"""``make demo``: the main job on a real model, in one table.

Fetches PP-OCRv4's line recogniser, renders labelled lines of text, compiles the model by the shipped
recipe ``lossless`` for this machine, prints what changed, leaves the bundle and verifies it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks.zoo.entries import entry
from benchmarks.zoo.folder import build


def main() -> None:
    """Run the demo; everything it says goes to stdout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__)
    parser.add_argument("--recipe", default="lossless", help="shipped recipe (default: lossless)")
    parser.add_argument("--out", type=Path, default=Path("demo/ppocr-rec"), help="bundle to leave")
    arguments = parser.parse_args()

    print("1/3 fetching PP-OCRv4's recogniser and rendering text lines ...", flush=True)
    folder = build(entry("ppocr-rec"))

    import tamis
    from tamis.compiler.cli.build import report
    from tamis.compiler.cli.output import table
    from tamis.compiler.model_file import load_model
    from tamis.compiler.pipeline import count_nodes

    print(f"2/3 tamis compile {folder / 'model.onnx'} -r {arguments.recipe} -o {arguments.out} ...", flush=True)
    start = time.monotonic()
    bundle = tamis.compile(
        folder / "model.onnx",
        arguments.recipe,
        out=arguments.out,
        data={"calibration": folder / "calibration.npz", "evaluation": folder / "evaluation.npz"},
        set={"inputs.x.shape": [1, 3, 48, 320], "data.evaluation.metric": "char-accuracy"},
        force=True,
        quiet=False,
    )
    print(f"    {time.monotonic() - start:.1f} s", flush=True)
    report(bundle)

    print("\n3/3 tamis verify", arguments.out, "...", flush=True)
    verified = tamis.verify(arguments.out)

    made, ratio = bundle.report, bundle.measurements["speedup"]
    size = [(folder / "model.onnx").stat().st_size, sum(made.files[f].bytes for f in made.artifact)]
    accuracy = made.accuracy
    assert accuracy is not None
    nodes = [count_nodes(load_model(p)) for p in (folder / "model.onnx", bundle.folder / made.artifact[0])]
    interval = f"{ratio['speedup']:.3f}x ({ratio['low']:.3f} to {ratio['high']:.3f})"
    table(
        ("PP-OCRv4 recogniser, 1x3x48x320", "as given", "compiled"),
        [
            ("nodes", *nodes),
            ("size, MB", *(f"{s / 1e6:.2f}" for s in size)),
            (f"latency ratio ({ratio['pairs']} pairs, 95 %)", "1x", interval),
            (f"character accuracy ({accuracy.samples} lines)", f"{accuracy.before:.4f}", f"{accuracy.after:.4f}"),
            ("golden outputs reproduced", "", f"{sum(r.ok for r in verified.replays)} of {len(verified.replays)}"),
        ],
    )
    print(f"The bundle is in {arguments.out}; try: tamis explain fuse-hard-swish")


if __name__ == "__main__":
    main()
