"""The action classifier f_T: a ResNet inflated in time (I3D), from clips to action logits."""

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


class Bottleneck3D(nn.Module):
    """3x1x1 or 1x1x1, 1x3x3 (with the spatial stride), 1x1x1 and a shortcut.

    The inflated block of Wang et al. 2018 (arXiv 1711.07971, Sec. 4); 4 * `width` channels out.
    """

    width: int
    stride: int
    temporal: bool
    norm: Norm
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n t h w cin"]) -> Float[Array, "n t oh ow cout"]:
        """Map [n, t, h, w, cin] to [n, t, ceil(h / stride), ceil(w / stride), 4 * width]."""
        strides = (1, self.stride, self.stride)
        out = 4 * self.width
        kernel = (3 if self.temporal else 1, 1, 1)
        y = Conv(self.width, kernel, dtype=self.dtype, name="conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y))
        y = Conv(self.width, (1, 3, 3), strides, dtype=self.dtype, name="conv2")(y)
        y = nn.relu(self.norm(name="bn2")(y))
        y = Conv(out, (1, 1, 1), dtype=self.dtype, name="conv3")(y)
        y = self.norm(name="bn3")(y)
        if x.shape != y.shape:
            x = Conv(out, (1, 1, 1), strides, dtype=self.dtype, name="shortcut_conv")(x)
            x = self.norm(name="shortcut_bn")(x)
        return nn.relu(x + y)


class I3DResNet(nn.Module):
    """Inflated ResNet; the defaults are I3D ResNet-50 (arXiv 1711.07971, Table 1, inflated).

    Attributes:
      stage_sizes: blocks in each stage.
      temporal_marks: for each stage and block, whether its first convolution is 3x1x1 (else 1x1x1).
      width: channels of the stem, and of the first stage before its expansion by 4.
      stem_kernel, stem_strides: the first convolution, in (time, height, width).
      stem_pool_kernel, stem_pool_strides: the max-pool after it, without padding.
      stage1_pool_kernel, stage1_pool_strides: the max-pool after the first stage; (1, 1, 1) twice
        for none, which keeps the temporal resolution.
      head: "linear", or "projection" of a privacy network that contrasts clips.
      num_classes: actions; logits of the linear head.
      projection_dim: length of the projection head's embedding.
      dropout_rate: before the linear layer, in training.
      motion_input: the network sees, beside the frames, their difference from the clip's mean over
        time, as three more channels: it helps training from scratch on little data.
      freeze_batch_norm: use the running statistics in training too, and leave them alone.
      input_mean, input_std: per-channel normalisation of the input, for converted weights.
      remat: what blocks compute again in their backward pass; see `remat.rematerialize`.
      dtype: computation, float32 or bfloat16; parameters, statistics and outputs are float32.
    """

    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)
    temporal_marks: tuple[tuple[int, ...], ...] = (
        (1, 1, 1),
        (1, 0, 1, 0),
        (1, 0, 1, 0, 1, 0),
        (0, 1, 0),
    )
    width: int = 64
    stem_kernel: tuple[int, int, int] = (5, 7, 7)
    stem_strides: tuple[int, int, int] = (2, 2, 2)
    stem_pool_kernel: tuple[int, int, int] = (2, 3, 3)
    stem_pool_strides: tuple[int, int, int] = (2, 2, 2)
    stage1_pool_kernel: tuple[int, int, int] = (2, 1, 1)
    stage1_pool_strides: tuple[int, int, int] = (2, 1, 1)
    head: str = "linear"
    num_classes: int = 400
    projection_dim: int = 128
    dropout_rate: float = 0.5
    motion_input: bool = False
    freeze_batch_norm: bool = False
    input_mean: tuple[float, float, float] | None = None
    input_std: tuple[float, float, float] | None = None
    remat: str = "none"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, clip: Float[Array, "batch time height width 3"], *, train: bool
    ) -> tuple[Float[Array, "batch outputs"], dict[str, Float[Array, "batch features"]]]:
        """Map clips in [0, 1] to (logits or embedding, {"features": pooled features}).

        Raises ValueError for clips too short or frames too small for the pools. With `train` the
        rng "dropout" is needed.
        """
        check_input(clip, ("batch", "time", "height", "width", "3"), "I3DResNet")
        if tuple(len(marks) for marks in self.temporal_marks) != tuple(self.stage_sizes):
            raise ValueError(
                f"temporal_marks {self.temporal_marks} need one entry for each block of "
                f"stage_sizes {self.stage_sizes}"
            )
        block = rematerialize(Bottleneck3D, self.remat)
        norm = batch_norm(train and not self.freeze_batch_norm, self.dtype)
        x = normalize_input(clip, self.input_mean, self.input_std)
        if self.motion_input:
            x = jnp.concatenate([x, x - jnp.mean(x, axis=1, keepdims=True)], axis=-1)
        x = Conv(
            self.width, self.stem_kernel, self.stem_strides, dtype=self.dtype, name="stem_conv"
        )(x)
        x = nn.relu(norm(name="stem_bn")(x))
        x = max_pool(x, self.stem_pool_kernel, self.stem_pool_strides)
        for stage, marks in enumerate(self.temporal_marks):
            for index, temporal in enumerate(marks):
                stride = 2 if stage > 0 and index == 0 else 1
                name = f"stage{stage + 1}_block{index}"
                width = self.width * 2**stage
                x = block(width, stride, bool(temporal), norm, self.dtype, name=name)(x)
            if stage == 0:
                x = max_pool(x, self.stage1_pool_kernel, self.stage1_pool_strides)
        features = jnp.mean(x.astype(jnp.float32), axis=(1, 2, 3))
        heads: dict[str, Callable[..., nn.Module]] = {
            "linear": functools.partial(LinearHead, self.num_classes, self.dropout_rate),
            "projection": functools.partial(ProjectionHead, self.projection_dim),
        }
        head = choose(heads, self.head, "head")(name="head")
        return head(features, train=train), {"features": features}
