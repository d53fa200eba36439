"""The nodes of an ONNX graph, with the weights of a Flax network in the form that they take."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from jaxtyping import Float
from onnx import helper, numpy_helper

from anon_jax.models.layers import BatchNorm

_SAME = [1, 1, 1, 1]  # zeros around a map, that a 3x3 convolution keeps its size


class Builder:
    """Collects nodes and weights; tensors between nodes are float32 [n, c, h, w].

    Paths such as "stage1_block0/conv1" name a module of the network, and its node.

    Attributes:
      nodes, weights: so far.

    Args:
      params, batch_stats: of a `NetState`.
    """

    def __init__(self, params: Any, batch_stats: Any):
        self._params, self._stats = params, batch_stats
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._channels: dict[str, int] = {}  # of each tensor

    def has(self, path: str) -> bool:
        """Whether the network has a module at this path."""
        above, _, name = path.rpartition("/")
        return name in _at(self._params, above)

    def add(self, kind: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:
        """Adds a node; returns the name of its output."""
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        self._channels[name] = self._channels.get(inputs[0], 0)  # until a convolution says else
        return name

    def weight(self, name: str, value: np.ndarray | np.generic) -> str:
        """Adds a constant; returns its name."""
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def conv(self, x: str, conv: str, norm: str = "", stride: int = 1) -> str:
        """The convolution at the path `conv`, with the BatchNorm at `norm` folded into it."""
        kernel, bias = self._folded(conv, norm)
        pads = [size // 2 for size in kernel.shape[:2]] * 2
        inputs = [x, self._kernel(f"{conv}/kernel", kernel), self._bias(conv, bias)]
        self.add("Conv", inputs, name=conv, strides=[stride, stride], pads=pads)
        self._channels[conv] = len(bias)
        return conv

    def upsampled_conv(self, x: str, skips: Sequence[str], conv: str, norm: str) -> str:
        """`UpsampleConv` as it stands: nearest upsampling, concatenation, convolution."""
        scales = self.weight(f"{conv}/scales", np.array([1, 1, 2, 2], np.float32))
        x = self.add(
            "Resize",
            [x, "", scales],
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )
        if skips:
            x = self.add("Concat", [x, *skips], axis=1)
        return self.conv(x, conv, norm)

    def upsampled_conv_merged(self, x: str, skips: Sequence[str], conv: str, norm: str) -> str:
        """The same: a transposed convolution of x plus a convolution of the skips."""
        kernel, bias = self._folded(conv, norm)
        of_x, of_skips = np.split(kernel, [self._channels[x]], axis=2)
        # [4, 4, cin, cout] -> [cin, cout, 4, 4]
        merged = _with_upsampling(of_x).transpose(2, 3, 0, 1).astype(np.float32)
        inputs = [x, self.weight(f"{conv}/kernel", merged), self._bias(conv, bias)]
        y = self.add("ConvTranspose", inputs, name=conv, strides=[2, 2], pads=_SAME)
        self._channels[y] = len(bias)
        if not skips:
            return y
        joined = self.add("Concat", skips, axis=1) if len(skips) > 1 else skips[0]
        inputs = [joined, self._kernel(f"{conv}/kernel_of_skips", of_skips)]
        # The transposed one first: the sum has its channels.
        return self.add("Add", [y, self.add("Conv", inputs, name=f"{conv}/skips", pads=_SAME)])

    def _kernel(self, name: str, kernel: Float[np.ndarray, "kh kw cin cout"]) -> str:
        # [kh, kw, cin, cout] -> [cout, cin, kh, kw]
        return self.weight(name, kernel.transpose(3, 2, 0, 1).astype(np.float32))

    def _bias(self, conv: str, bias: Float[np.ndarray, " cout"]) -> str:
        return self.weight(f"{conv}/bias", bias.astype(np.float32))

    def _folded(
        self, conv: str, norm: str
    ) -> tuple[Float[np.ndarray, "kh kw cin cout"], Float[np.ndarray, " cout"]]:
        """Kernel and bias of a convolution and the BatchNorm after it, as one."""
        params = _at(self._params, conv)
        kernel = np.asarray(params["kernel"], np.float64)
        bias = np.asarray(params.get("bias", np.zeros(kernel.shape[-1])), np.float64)
        if not norm:
            return kernel, bias
        params, stats = _at(self._params, norm), _at(self._stats, norm)
        scale, shift = (np.asarray(params[key], np.float64) for key in ("scale", "bias"))
        mean, var = (np.asarray(stats[key], np.float64) for key in ("mean", "var"))
        factor = scale / np.sqrt(var + BatchNorm.epsilon)
        return kernel * factor, (bias - mean) * factor + shift


def _with_upsampling(
    kernel: Float[np.ndarray, "3 3 cin cout"],
) -> Float[np.ndarray, "4 4 cin cout"]:
    """The kernel of a transposed convolution of stride 2 that upsamples by nearest and convolves.

    Each pixel becomes a square of 2x2, so that the fine kernel, turned round as transposed
    convolutions have it, is summed over such squares.
    """
    padded = np.pad(kernel[::-1, ::-1], ((1, 1), (1, 1), (0, 0), (0, 0)))
    rows = padded[1:] + padded[:-1]
    return rows[:, 1:] + rows[:, :-1]


def _at(tree: Any, path: str) -> Any:
    for key in path.split("/") if path else ():
        tree = tree[key]
    return tree
