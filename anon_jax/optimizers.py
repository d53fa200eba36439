"""The optax chain of one network, from the fields of a config's optimizer section."""

from typing import Any

import jax
import optax

from anon_jax.errors import ConfigError

SCHEDULES = ("constant", "cosine", "plateau")
_PLATEAU_FACTOR = 0.2  # "rate / 5 when the epoch loss does not fall"
_NEARLY_NOTHING = 1e-12  # any fall of the loss counts, but optax refuses tolerances of 0


def make_optimizer(
    *,
    learning_rate: float,
    schedule: str,
    warmup_epochs: float,
    weight_decay: float,
    clip_norm: float,
    num_steps: int,
    steps_per_epoch: int,
) -> optax.GradientTransformationExtraArgs:
    """Adam with a linear warm-up, then a constant, cosine or plateau rate.

    Args:
      learning_rate: the peak.
      schedule: one of SCHEDULES; "plateau" divides the rate by 5 after each epoch whose mean loss
        did not fall, and wants the loss as `update(..., value=loss)`.
      warmup_epochs: length of the rise from 0.
      weight_decay: decoupled, on arrays of two or more axes only (kernels; not biases, not
        BatchNorm).
      clip_norm: bound of the global gradient norm, 0 = none.
      num_steps: length of the phase, in updates.
      steps_per_epoch: length of an epoch, in updates.

    Raises:
      ConfigError: an unknown schedule.
    """
    if schedule not in SCHEDULES:
        raise ConfigError(f"Unknown schedule '{schedule}'; known: {', '.join(SCHEDULES)}")
    warmup = min(round(warmup_epochs * steps_per_epoch), num_steps)
    rate = _rate(learning_rate, schedule, warmup, num_steps)
    chain = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    chain.append(optax.scale_by_adam())
    if weight_decay:
        chain.append(optax.add_decayed_weights(weight_decay, mask=_kernels))
    chain.append(optax.scale_by_learning_rate(rate))
    if schedule == "plateau":
        chain.append(
            optax.contrib.reduce_on_plateau(
                factor=_PLATEAU_FACTOR,
                patience=1,
                rtol=0.0,
                atol=_NEARLY_NOTHING,
                accumulation_size=steps_per_epoch,
            )
        )
    return optax.with_extra_args_support(optax.chain(*chain))


def _rate(peak: float, schedule: str, warmup: int, num_steps: int) -> optax.Schedule:
    if schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, max(1, num_steps - warmup))
    else:
        after = optax.constant_schedule(peak)
    # The first update of a warm-up already moves: its rate is peak / warmup, not 0.
    rise = optax.linear_schedule(peak / max(1, warmup), peak, max(1, warmup - 1))
    return optax.join_schedules([rise, after], [warmup]) if warmup else after


def _kernels(params: Any) -> Any:
    return jax.tree.map(lambda array: array.ndim > 1, params)
