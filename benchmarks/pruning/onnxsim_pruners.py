"""onnxsim's structured pruners. They take a share of channels, so the share is searched that reaches the latency.

Its channels come in no multiples, so that the latency is not monotone in the share: of the shares that are tried in
bisection, the smallest one that reaches the goal is taken, or the fastest one if none does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from benchmarks.side_by_side.candidate import Candidate
from benchmarks.side_by_side.case import Case, Feeds
from benchmarks.side_by_side.runners import by_onnxruntime
from tamis.compiler.measure import compare

SHARES = tuple(i / 20 for i in range(1, 19))
SECONDS = 1.0
"""Of the measurement of one share."""
Prune = Callable[[Any, list[Feeds], float], Any]
"""Gets the simplified model, calibration samples and a share of channels."""


def simplified(case: Case, out: Path) -> Candidate:
    """onnxsim's simplification, with the sizes fixed."""
    return _saved(_simple(case), out / "model.onnx")


def by_magnitude(model: Any, samples: list[Feeds], share: float) -> Any:
    """``onnxsim.apply_structured_pruning``: L2 norm of filters."""
    import onnxsim

    return onnxsim.apply_structured_pruning(model, sparsity=share)


def by_wanda(model: Any, samples: list[Feeds], share: float) -> Any:
    """``onnxsim.apply_structured_wanda_pruning``: norms of filters and inputs; then its refit, ridge regression."""
    import onnxsim

    pruned = onnxsim.apply_structured_wanda_pruning(model, calibration_data=samples, sparsity=share)
    return onnxsim.apply_pruning_finetune(model, pruned, calibration_data=samples)


def searched(case: Case, out: Path, *, prune: Prune, goal: float) -> Candidate:
    """The smallest share that reaches the goal."""
    model, samples = _simple(case), case.feeds("calibration")
    base = _saved(model, out / "whole.onnx")
    tried: dict[float, tuple[float, Candidate]] = {}
    low, high = 0, len(SHARES) - 1
    while low <= high:
        middle = (low + high + 1) // 2 if not tried else (low + high) // 2
        share = SHARES[middle]
        made = _saved(prune(model, samples, share), out / f"{share:.2f}.onnx")
        tried[share] = _ratio(case, base, made), made
        low, high = (low, middle - 1) if tried[share][0] <= goal else (middle + 1, high)
    reaching = [share for share, (ratio, _) in tried.items() if ratio <= goal]
    share = min(reaching) if reaching else min(tried, key=lambda s: tried[s][0])
    ratio, made = tried[share]
    note = (
        f"{share:.0%} of the channels that it can take"
        if reaching
        else f"no share reaches it; {ratio:.2f} at {share:.0%}"
    )
    return Candidate(made.path, made.run_by, (note,))


def _ratio(case: Case, base: Candidate, made: Candidate) -> float:
    feeds = case.feeds("calibration")[0]
    calls = [partial(by_onnxruntime(each.path, case.threads), feeds) for each in (base, made)]
    return 1 / compare(*calls, seconds=SECONDS).speedup


def _simple(case: Case) -> Any:
    import onnxsim

    shapes = {name: list(value.shape) for name, value in case.feeds("calibration")[0].items()}
    return onnxsim.simplify(onnx.load(case.model), overwrite_input_shapes=shapes)[0]


def _saved(model: Any, path: Path) -> Candidate:
    onnx.save(model, path)
    return Candidate(path)
