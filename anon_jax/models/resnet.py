"""2D ResNets: the privacy network f_B, and the blocks of the anonymizer's encoder."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from anon_jax.models.heads import LinearHead, ProjectionHead
from anon_jax.models.layers import (
    Conv,
    Norm,
    batch_norm,
    check_input,
    choose,
    max_pool,
    normalize_input,
)
from anon_jax.models.remat import rematerialize


class BasicBlock(nn.Module):
    """3x3 (with the stride), 3x3 and a shortcut; the output has `width` channels.

    He et al. 2016 (arXiv 1512.03385), the block of ResNet-18 and -34.
    """

    width: int
    stride: int
    norm: Norm
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w cin"]) -> Float[Array, "n oh ow cout"]:
        """Map [n, h, w, cin] to [n, ceil(h / stride), ceil(w / stride), width]."""
        strides = (self.stride, self.stride)
        y = Conv(self.width, (3, 3), strides, dtype=self.dtype, name="conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y))
        y = Conv(self.width, (3, 3), dtype=self.dtype, name="conv2")(y)
        y = self.norm(name="bn2")(y)
        if x.shape != y.shape:
            x = Conv(self.width, (1, 1), strides, dtype=self.dtype, name="shortcut_conv")(x)
            x = self.norm(name="shortcut_bn")(x)
        return nn.relu(x + y)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 and a shortcut; the output has 4 * `width` channels.

    He et al. 2016 (arXiv 1512.03385), the block of ResNet-50 and larger, with the stride in the
    3x3 convolution as in torchvision's weights.
    """

    width: int
    stride: int
    norm: Norm
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w cin"]) -> Float[Array, "n oh ow cout"]:
        """Map [n, h, w, cin] to [n, ceil(h / stride), ceil(w / stride), 4 * width]."""
        strides = (self.stride, self.stride)
        y = Conv(self.width, (1, 1), dtype=self.dtype, name="conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y))
        y = Conv(self.width, (3, 3), strides, dtype=self.dtype, name="conv2")(y)
        y = nn.relu(self.norm(name="bn2")(y))
        y = Conv(4 * self.width, (1, 1), dtype=self.dtype, name="conv3")(y)
        y = self.norm(name="bn3")(y)
        if x.shape != y.shape:
            x = Conv(4 * self.width, (1, 1), strides, dtype=self.dtype, name="shortcut_conv")(x)
            x = self.norm(name="shortcut_bn")(x)
        return nn.relu(x + y)


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
}


class ResNet(nn.Module):
    """ResNet with a linear head (attribute logits) or a projection head (a unit embedding).

    Attributes:
      stage_sizes: blocks in each stage; a stage has twice the channels and half the size of the
        one before it.
      block: "basic" or "bottleneck".
      width: channels of the stem and of the first stage (before a bottleneck's expansion).
      stem_kernel, stem_stride: the first convolution.
      stem_pool_kernel, stem_pool_stride: the max-pool after it; 1 and 1 for none.
      head: "linear" or "projection".
      num_classes: logits of the linear head.
      projection_dim: length of the projection head's embedding.
      freeze_batch_norm: use the running statistics in training too, and leave them alone.
      input_mean, input_std: per-channel normalisation of the input, for converted weights.
      remat: what blocks compute again in their backward pass; see `remat.rematerialize`.
      dtype: computation, float32 or bfloat16; parameters, statistics and outputs are float32.
    """

    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)
    block: str = "bottleneck"
    width: int = 64
    stem_kernel: int = 7
    stem_stride: int = 2
    stem_pool_kernel: int = 3
    stem_pool_stride: int = 2
    head: str = "linear"
    num_classes: int = 1000
    projection_dim: int = 128
    freeze_batch_norm: bool = False
    input_mean: tuple[float, float, float] | None = None
    input_std: tuple[float, float, float] | None = None
    remat: str = "none"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width 3"], *, train: bool
    ) -> tuple[Float[Array, "batch outputs"], dict[str, Float[Array, "batch features"]]]:
        """Map images in [0, 1] to (logits or embedding, {"features": pooled features})."""
        check_input(images, ("batch", "height", "width", "3"), "ResNet")
        block = rematerialize(choose(BLOCKS, self.block, "block"), self.remat)
        heads: dict[str, Callable[..., nn.Module]] = {
            "linear": functools.partial(LinearHead, self.num_classes),
            "projection": functools.partial(ProjectionHead, self.projection_dim),
        }
        head = choose(heads, self.head, "head")
        norm = batch_norm(train and not self.freeze_batch_norm, self.dtype)
        x = normalize_input(images, self.input_mean, self.input_std)
        k, s = self.stem_kernel, self.stem_stride
        x = Conv(self.width, (k, k), (s, s), dtype=self.dtype, name="stem_conv")(x)
        x = nn.relu(norm(name="stem_bn")(x))
        k, s = self.stem_pool_kernel, self.stem_pool_stride
        x = max_pool(x, (k, k), (s, s), (k // 2, k // 2))
        for stage, size in enumerate(self.stage_sizes):
            for index in range(size):
                stride = 2 if stage > 0 and index == 0 else 1
                name = f"stage{stage + 1}_block{index}"
                x = block(self.width * 2**stage, stride, norm, self.dtype, name=name)(x)
        features = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        return head(name="head")(features, train=train), {"features": features}
