"""The operations that are timed on their own, and their arrays."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Layer:
    """One operation.

    Attributes:
      kind: "conv", "upsampled_conv" (3x3 on an input that is upsampled first), "max_pool" or
        "upsample".
      shape: of the input, channels last.
      window: of the kernel, or of the pool.
      features: output channels of a convolution.
      strides, padding: of the window; a convolution always pads by half its kernel.
      plain_gradients: whether the plain form's gradients are timed too.
    """

    kind: str
    shape: tuple[int, ...]
    window: tuple[int, ...] = ()
    features: int = 0
    strides: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    plain_gradients: bool = True

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """(*window, cin, features) of a convolution, () of the others."""
        return (*self.window, self.shape[-1], self.features) if self.features else ()


# Sizes of I3D and UNet++ at 112x112. The gradient of the plain stem to its input would take 40 s.
LAYERS = {
    "5x7x7 stem, stride 2": Layer(
        "conv", (1, 16, 112, 112, 3), (5, 7, 7), 64, (2, 2, 2), plain_gradients=False
    ),
    "1x3x3": Layer("conv", (1, 8, 28, 28, 64), (1, 3, 3), 64, (1, 1, 1)),
    "3x1x1": Layer("conv", (1, 8, 28, 28, 256), (3, 1, 1), 64, (1, 1, 1)),
    "1x1": Layer("conv", (8, 28, 28, 64), (1, 1), 256, (1, 1)),
    "1x1, stride 2": Layer("conv", (8, 56, 56, 256), (1, 1), 512, (2, 2)),
    "3x3": Layer("conv", (8, 56, 56, 64), (3, 3), 64, (1, 1)),
    "3x3 on upsampled": Layer("upsampled_conv", (8, 28, 28, 128), (3, 3), 64),
    "max-pool 3x3, stride 2": Layer("max_pool", (8, 56, 56, 64), (3, 3), 0, (2, 2), (1, 1)),
    "max-pool 2x3x3, stride 2": Layer(
        "max_pool", (1, 8, 56, 56, 64), (2, 3, 3), 0, (2, 2, 2), (0, 0, 0)
    ),
    "nearest upsampling": Layer("upsample", (8, 28, 28, 128)),
}
SMALL_LAYERS = {
    "3x3 on upsampled": Layer("upsampled_conv", (1, 4, 4, 64), (3, 3), 4),
    "max-pool 3x3, stride 2": Layer("max_pool", (1, 8, 8, 4), (3, 3), 0, (2, 2), (1, 1)),
}


def layers(small: bool) -> dict[str, Layer]:
    """The table's operations, or two small ones."""
    return SMALL_LAYERS if small else LAYERS


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Normal float32 numbers, the same for each contestant: of "input", "kernel", "cotangent"."""
    rng = np.random.default_rng({"input": 0, "kernel": 1, "cotangent": 2}[name])
    return rng.standard_normal(shape).astype(np.float32)
