"""The anonymizer f_A: UNet++ with a ResNet encoder, from frames to frames of the same size."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from anon_jax.models.layers import (
    Conv,
    Norm,
    UpsampleConv,
    batch_norm,
    check_input,
    choose,
    max_pool,
)
from anon_jax.models.remat import rematerialize
from anon_jax.models.resnet import BasicBlock

OUTPUT_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "sigmoid": nn.sigmoid,
    "identity": lambda x: x,
}


class DecoderBlock(nn.Module):
    """Nearest upsampling, concatenation with the skips, then twice 3x3 convolution, BN, ReLU."""

    features: int
    norm: Norm
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w cin"], skips: Sequence[Float[Array, "n 2*h 2*w _"]]
    ) -> Float[Array, "n 2*h 2*w features"]:
        """Map x and the skips, of twice its height and width, to the skips' resolution."""
        y = UpsampleConv(self.features, self.dtype, name="conv1")(x, skips)
        y = nn.relu(self.norm(name="bn1")(y))
        init = nn.initializers.he_uniform()
        y = Conv(self.features, (3, 3), kernel_init=init, dtype=self.dtype, name="conv2")(y)
        return nn.relu(self.norm(name="bn2")(y))


class UNetPlusPlus(nn.Module):
    """UNet++ (Zhou et al. 2018, arXiv 1807.10165); by default the one of arXiv 2504.14301.

    Attributes:
      stage_sizes: BasicBlocks in each stage of the ResNet encoder after its stem. The depth, the
        number of halvings, is one more than the number of stages.
      width: channels of the encoder's stem and first stage; each later stage has twice as many.
      stem_kernel: size of the encoder's first convolution, of stride 2.
      decoder_channels: output channels of the outermost decoder path, one entry for each level of
        the depth, coarsest first. The inner nodes have the channels of the skip at their level.
      output_activation: "sigmoid" (outputs in [0, 1]) or "identity".
      remat: what blocks compute again in their backward pass; see `remat.rematerialize`.
      dtype: computation, float32 or bfloat16; parameters, statistics and outputs are float32.
    """

    stage_sizes: tuple[int, ...] = (2, 2, 2)
    width: int = 64
    stem_kernel: int = 7
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32)
    output_activation: str = "sigmoid"
    remat: str = "none"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, frames: Float[Array, "batch height width 3"], *, train: bool
    ) -> Float[Array, "batch height width 3"]:
        """Anonymize frames in [0, 1].

        Raises ValueError where height or width is no multiple of 2 ** depth.
        """
        activation = choose(OUTPUT_ACTIVATIONS, self.output_activation, "output_activation")
        self._check(frames)
        norm = batch_norm(train, self.dtype)
        levels = self._encode(frames, norm)[::-1]  # coarsest first
        row = [levels[0]]
        for level in range(1, len(levels)):
            row = self._decode_level(level, row, levels[level], norm)
        last = len(levels) - 1
        decoder = rematerialize(DecoderBlock, self.remat)
        name = f"decoder_0_{last}"
        block = decoder(self.decoder_channels[last], norm, self.dtype, name=name)
        x = block(row[0], [])  # full resolution has no skip
        init = nn.initializers.xavier_uniform()
        x = Conv(3, (3, 3), use_bias=True, kernel_init=init, dtype=self.dtype, name="output_conv")(
            x
        )
        return activation(x.astype(jnp.float32))

    def _decode_level(
        self, level: int, below: list[jax.Array], skip: jax.Array, norm: Norm
    ) -> list[jax.Array]:
        """Return the nodes of one resolution, the outermost path first and the skip last.

        Node `start` of a level continues the path that leaves the encoder at level `start`. It
        takes that path's node of the coarser level `below`, upsampled, and all nodes of its own
        resolution on paths further in, the encoder's skip among them: the nested dense skips.
        """
        decoder = rematerialize(DecoderBlock, self.remat)
        nodes = [skip]
        for start in reversed(range(level)):
            features = self.decoder_channels[level - 1] if start == 0 else skip.shape[-1]
            name = f"decoder_{start}_{level - 1}"
            block = decoder(features, norm, self.dtype, name=name)
            nodes = [block(below[start], nodes), *nodes]
        return nodes

    def _encode(self, frames: jax.Array, norm: Norm) -> list[jax.Array]:
        """Return the encoder's features at strides 2, 4, ... 2 ** depth."""
        block = rematerialize(BasicBlock, self.remat)
        k = self.stem_kernel
        x = Conv(self.width, (k, k), (2, 2), dtype=self.dtype, name="stem_conv")(frames)
        x = nn.relu(norm(name="stem_bn")(x))
        features = [x]
        x = max_pool(x, (3, 3), (2, 2), (1, 1))
        for stage, size in enumerate(self.stage_sizes):
            for index in range(size):
                stride = 2 if stage > 0 and index == 0 else 1
                name = f"stage{stage + 1}_block{index}"
                x = block(self.width * 2**stage, stride, norm, self.dtype, name=name)(x)
            features.append(x)
        return features

    def _check(self, frames: jax.Array) -> None:
        """Raise ValueError for frames or attributes that do not fit together."""
        check_input(frames, ("batch", "height", "width", "3"), "UNetPlusPlus")
        depth = len(self.stage_sizes) + 1
        if len(self.decoder_channels) != depth:
            raise ValueError(
                f"decoder_channels {self.decoder_channels} need {depth} entries, one more than "
                f"stage_sizes {self.stage_sizes}"
            )
        height, width = frames.shape[1:3]
        divisor = 2**depth
        if height % divisor or width % divisor:
            down = [max(size // divisor, 1) * divisor for size in (height, width)]
            up = [-(-size // divisor) * divisor for size in (height, width)]
            raise ValueError(
                f"UNetPlusPlus halves frames {depth} times, so height and width must be multiples "
                f"of {divisor}, got {height}x{width}: pad the frames to {up[0]}x{up[1]}, or choose "
                f"a size such as {down[0]}x{down[1]}"
            )
