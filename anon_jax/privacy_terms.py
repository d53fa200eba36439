"""L_B by method: what f_B learns, and what f_A takes from it."""

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from anon_jax import losses
from anon_jax.steps import Batch, contrast

OBJECTIVES = ("entropy", "cross_entropy")


class PrivacyTerm(Protocol):
    """The two sides of L_B; `out` is what f_B returns for the views of `both_views(batch)`."""

    def learned(self, out: Any, batch: Batch) -> jax.Array:
        """What f_B minimises."""

    def fooled(self, out: Any, batch: Batch) -> jax.Array:
        """What f_A maximises."""


@dataclasses.dataclass(frozen=True)
class Contrastive:
    """NT-Xent of two views of an image (arXiv 2203.15205): needs no labels.

    Attributes:
      temperature: of NT-Xent.
      ceiling: f_A's side is cut at chance.
    """

    temperature: float
    ceiling: bool = False

    def learned(self, out: Any, batch: Batch) -> jax.Array:
        """NT-Xent."""
        return contrast(out, self.temperature)

    def fooled(self, out: Any, batch: Batch) -> jax.Array:
        """NT-Xent, cut at chance where there is a ceiling."""
        return contrast(out, self.temperature, self.ceiling)


@dataclasses.dataclass(frozen=True)
class Supervised:
    """An ensemble of classifiers of labelled attributes (VITA, arXiv 1906.05675, Sec. 3).

    f_A faces the strongest member at each step: the one that is most certain, or most often right.

    Attributes:
      objective: f_A raises the "entropy" of the predictions, or their "cross_entropy" against the
        labels, whose maximum is a classifier that is always wrong and so tells as much as ever.
    """

    objective: str

    def learned(self, out: Any, batch: Batch) -> jax.Array:
        """Mean binary cross entropy of the members, each of which learns on its own."""
        return jnp.mean(self._cross_entropies(out, batch))

    def fooled(self, out: Any, batch: Batch) -> jax.Array:
        """The smallest entropy, or cross entropy, among the members."""
        if self.objective == "entropy":
            return jnp.min(jax.vmap(losses.binary_entropy)(out[0]))
        return jnp.min(self._cross_entropies(out, batch))

    def _cross_entropies(self, out: Any, batch: Batch) -> jax.Array:
        labels = jnp.concatenate([batch["attributes"]] * 2)  # of both views, [2N, attributes]
        return jax.vmap(lambda logits: losses.binary_cross_entropy(logits, labels))(out[0])
