"""Several networks of one kind that see the same images, each with its own parameters."""

import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

_MEMBER = re.compile(r"members_(\d+)")


class Ensemble(nn.Module):
    """The members' outputs side by side.

    Attributes:
      make_member: returns a new module, whose result is (outputs [batch, outputs], ...).
      size: number of members.
    """

    make_member: Callable[[], nn.Module]
    size: int

    def setup(self) -> None:
        """Makes the members, each with parameters of its own."""
        self.members = [self.make_member() for _ in range(self.size)]

    def __call__(
        self, images: Float[Array, "batch height width 3"], *, train: bool
    ) -> tuple[Float[Array, "members batch outputs"], dict[str, Array]]:
        """Map images in [0, 1] to (outputs of all members, {})."""
        return jnp.stack([member(images, train=train)[0] for member in self.members]), {}


def member_of(path: tuple) -> int | None:
    """Index of the member that a leaf of parameters, statistics or optimizer state belongs to.

    `path` is a key path of `jax.tree_util`; None for a leaf that is no member's.
    """
    found = _MEMBER.search(jax.tree_util.keystr(path))
    return int(found.group(1)) if found else None
