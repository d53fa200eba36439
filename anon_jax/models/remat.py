"""Rematerialisation: what of a block's forward pass is kept in memory for its backward pass."""

from typing import Any, TypeVar

import jax
from flax import linen as nn

from anon_jax.models.layers import choose

Block = TypeVar("Block", bound=nn.Module)

# The operations that cost: matrix products in any form, the kernels of `direct` among them.
_PRODUCTS = ("conv_general_dilated", "dot_general", "custom_partitioning")


def _is_product(primitive: Any, *_: Any, **__: Any) -> bool:
    """A policy of `jax.checkpoint`: whether the result of a primitive is kept."""
    return primitive.name in _PRODUCTS


_POLICIES = {
    "none": None,
    "convolutions": _is_product,
    "blocks": jax.checkpoint_policies.nothing_saveable,
}
REMAT = tuple(_POLICIES)


def rematerialize(block: type[Block], remat: str) -> type[Block]:
    """The module class `block`, keeping less for its backward pass; same names, same values.

    Args:
      remat: "none", all that the gradient needs is kept; "convolutions", the inputs of the block
        and the results of its convolutions are kept, and batch norm and ReLU computed again; or
        "blocks", the inputs alone are kept, and the whole block computed again (Chen et al. 2016,
        arXiv 1604.06174).

    Raises:
      ValueError: an unknown `remat`, listing the known ones.
    """
    policy = choose(_POLICIES, remat, "remat")
    return block if policy is None else nn.remat(block, policy=policy)
