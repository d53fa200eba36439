"""The networks by name: `build_model(name, **attributes)` returns a Flax module."""

import functools
from collections.abc import Callable
from typing import Any

from flax import linen as nn

from anon_jax.models.i3d import I3DResNet
from anon_jax.models.layers import choose
from anon_jax.models.resnet import ResNet
from anon_jax.models.unetpp import UNetPlusPlus

MODELS: dict[str, Callable[..., nn.Module]] = {
    "unetpp": functools.partial(UNetPlusPlus),
    "unetpp_tiny": functools.partial(
        UNetPlusPlus, stage_sizes=(1, 1, 1), width=8, decoder_channels=(32, 16, 16, 16)
    ),
    "i3d_resnet50": functools.partial(I3DResNet),
    "i3d_tiny": functools.partial(
        I3DResNet,
        stage_sizes=(1, 1, 1),
        temporal_marks=((1,), (1,), (1,)),
        width=16,
        stem_kernel=(3, 3, 3),
        stem_strides=(1, 2, 2),
        stem_pool_kernel=(1, 2, 2),
        stem_pool_strides=(1, 2, 2),
        stage1_pool_kernel=(1, 1, 1),
        stage1_pool_strides=(1, 1, 1),
    ),
    "resnet18": functools.partial(ResNet, stage_sizes=(2, 2, 2, 2), block="basic"),
    "resnet34": functools.partial(ResNet, stage_sizes=(3, 4, 6, 3), block="basic"),
    "resnet50": functools.partial(ResNet, stage_sizes=(3, 4, 6, 3)),
    "resnet101": functools.partial(ResNet, stage_sizes=(3, 4, 23, 3)),
    "resnet152": functools.partial(ResNet, stage_sizes=(3, 8, 36, 3)),
    "resnet_tiny": functools.partial(
        ResNet,
        stage_sizes=(1, 1, 1),
        block="basic",
        width=16,
        stem_kernel=3,
        stem_stride=2,
        stem_pool_kernel=1,
        stem_pool_stride=1,
    ),
}


def build_model(name: str, **attributes: Any) -> nn.Module:
    """Return the network `name`, a row of `MODELS`, with `attributes` in place of the row's.

    Raises ValueError for an unknown name, listing the known ones, and TypeError, naming it, for an
    attribute that the network does not have.
    """
    return choose(MODELS, name, "model")(**attributes)
