"""How much of what goes wrong at the readers of a group arrives at the outputs of the model.

The weights that read a group are disturbed, all of them at once, by noise of a tenth of their size; the damage at the
outputs is what one unit of relative error there costs. Losses of groups, which are errors of layers, become comparable by
it: an error in a layer that the rest of the model forgives is cheap.

*References.* Dong et al., HAWQ-V2, 2020 (1911.03852), weighs layers by the curvature of the loss; here it is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from tamis.compiler.graph_pass import Feeds
from tamis.compiler.rewriting.constants import constant_array
from tamis.compiler.runnable import load_unoptimized
from tamis.compiler.target import Runner
from tamis.passes.judging.sensitivity import damage_of, draw_samples, fewer, kinds_of_outputs, measure_sensitivities
from tamis.passes.pruning.axes.axis import Role, Slot
from tamis.passes.pruning.axes.group import Group

NOISE = 0.1
"""Standard deviation of the noise, as part of the root mean square of a weight."""
LEAST = 1e-3
"""A group counts at least this part of the mean: what samples do not show is not free."""


def amplifications(
    model: ir.Model,
    groups: Sequence[Group],
    samples: Callable[[], Iterable[Feeds]],
    seed: int,
    progress: Callable[[float, str], None],
) -> dict[Group, float]:
    """Damage at the outputs by relative error at the readers of each group, 1 on average.

    Args:
        model: What the groups belong to; changed while it runs, and left as it was.
        groups: All of which have readers with weights, or, without any, makers.
        samples: Gives the samples from the start each time.
        seed: Of the noise and of the choice of samples.
        progress: Gets (fraction done, a note).

    Returns:
        Equal for all groups if no damage is seen, or if some outputs are no longer finite.
    """
    chosen = draw_samples(samples(), seed)
    reference = load_unoptimized(model)
    kinds = kinds_of_outputs(model, [reference(feeds) for feeds in chosen])
    variants = [partial(_disturbed, model, group, seed + i) for i, group in enumerate(groups)]
    found = list(measure_sensitivities(reference, variants, fewer(chosen, 0.0), kinds, progress))
    damage = np.asarray(damage_of(found))
    if not np.isfinite(damage).all() or damage.sum() <= 0:
        return dict.fromkeys(groups, 1.0)
    relative = np.maximum(damage / damage.mean(), LEAST)
    return dict(zip(groups, relative.tolist(), strict=True))


def _disturbed(model: ir.Model, group: Group, seed: int) -> Runner:
    """A runner of the model with noisy weights; other readers of these weights get the noise, too."""
    rng = np.random.default_rng(seed)
    kept: dict[ir.Value, ir.TensorProtocol | None] = {}
    for member in group.with_role(Role.CONSUME) or group.with_role(Role.PRODUCE):
        slot = member.axis.tensor
        assert isinstance(slot, Slot)
        value, array = slot.value, constant_array(slot.value)
        if array is None or value in kept:
            continue
        kept[value] = value.const_value
        size = NOISE * np.sqrt(np.mean(np.square(array, dtype=np.float64)))
        noisy = (array + size * rng.standard_normal(array.shape)).astype(array.dtype)
        value.const_value = ir.tensor(noisy, name=value.name)
    try:
        return load_unoptimized(model)
    finally:
        for value, tensor in kept.items():
            value.const_value = tensor
