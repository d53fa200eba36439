"""The table of methods: what each one anonymizes with, and which terms its training has."""

import dataclasses

from anon_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Method:
    """One row.

    Attributes:
      learned: whether f_A is trained; else frames pass unchanged.
      penalty: whether L_A has the penalty term (arXiv 2504.14301).
    """

    learned: bool
    penalty: bool


METHODS = {
    "raw": Method(learned=False, penalty=False),
    "spact": Method(learned=True, penalty=False),  # arXiv 2203.15205: NT-Xent privacy, no penalty
    "penalty": Method(learned=True, penalty=True),  # arXiv 2504.14301
}


def get_method(name: str) -> Method:
    """Looks a method up; ConfigError lists the known ones."""
    if name not in METHODS:
        raise ConfigError(f"config.method is '{name}'; known methods: {', '.join(METHODS)}")
    return METHODS[name]
