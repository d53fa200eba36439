"""The table of methods: what each one anonymizes with, and which terms its training has."""

import dataclasses
from collections.abc import Callable
from typing import Any

from anon_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Method:
    """One row; without a field set, frames pass unchanged.

    Attributes:
      learned: whether f_A is trained; else the phases before the evaluations have nothing to do.
      penalty: whether L_A has the penalty term (arXiv 2504.14301).
      supervised: whether f_B classifies labelled attributes; else it contrasts views of images.
      privacy_term: config.minimax -> a `privacy_terms.PrivacyTerm` in place of NT-Xent or, with
        `supervised`, of the classifiers' loss. f_B itself stays as it is: pre-trained with a
        projection head or, with `supervised`, a new ensemble of classifiers.
      obfuscation: a row of input_pipeline.obfuscation.OBFUSCATIONS, applied to what the attackers
        learn from and are tested on; "" = none.
    """

    learned: bool = False
    penalty: bool = False
    supervised: bool = False
    privacy_term: Callable[[Any], Any] | None = None
    obfuscation: str = ""


METHODS = {
    "raw": Method(),
    "vita": Method(learned=True, supervised=True),  # arXiv 1906.05675
    "spact": Method(learned=True),  # arXiv 2203.15205: NT-Xent privacy, no penalty
    "penalty": Method(learned=True, penalty=True),  # arXiv 2504.14301
    "penalty_supervised": Method(learned=True, penalty=True, supervised=True),  # both
    "downsample2": Method(obfuscation="downsample2"),
    "downsample4": Method(obfuscation="downsample4"),
    "downsample8": Method(obfuscation="downsample8"),
    "downsample2_blur": Method(obfuscation="downsample2_blur"),
    "blacken": Method(obfuscation="blacken"),
    "weak_blur": Method(obfuscation="weak_blur"),
    "strong_blur": Method(obfuscation="strong_blur"),
}


def unused_fields(method: Method) -> tuple[str, ...]:
    """What the names of the config's fields begin with that have no part in a method's f_A.

    Of the phases before the evaluations, and of `obfuscation`.
    """
    fields = []
    if not method.learned:
        fields += ["networks.", "reconstruct.", "pretrain_privacy.", "minimax.", "compat."]
        fields.append("init_from.")
    if not method.obfuscation:
        fields.append("obfuscation.")
    if not method.penalty:
        fields += ["minimax.penalty.", "minimax.weights.penalty", "compat.constant_penalty"]
    if method.supervised:
        fields += ["pretrain_privacy.", "init_from.privacy"]
        fields += ["minimax.temperature", "minimax.privacy_loss_ceiling"]
    else:
        fields.append("minimax.supervised.")
    return tuple(fields)


def get_method(name: str) -> Method:
    """Looks a method up; ConfigError lists the known ones."""
    if name not in METHODS:
        raise ConfigError(f"config.method is '{name}'; known methods: {', '.join(METHODS)}")
    return METHODS[name]
