"""An ONNX graph of f_A in PyTorch, node by node: the engine that the others are compared with."""

from collections.abc import Callable

import numpy as np
import onnx
import torch
from jaxtyping import UInt8
from onnx import numpy_helper
from torch.nn import functional

_Op = Callable[..., torch.Tensor]


def _conv(attributes: dict) -> _Op:
    pads = attributes["pads"][:2]
    stride = attributes.get("strides", [1, 1])
    return lambda x, kernel, bias: functional.conv2d(x, kernel, bias, stride, pads)


_OPS: dict[str, Callable[[dict], _Op]] = {
    "Cast": lambda a: (
        lambda x: x.to(torch.uint8 if a["to"] == onnx.TensorProto.UINT8 else torch.float32)
    ),
    "Transpose": lambda a: lambda x: x.permute(a["perm"]),
    "Mul": lambda a: torch.mul,
    "Add": lambda a: torch.add,
    "Relu": lambda a: torch.relu,
    "Sigmoid": lambda a: torch.sigmoid,
    "Round": lambda a: torch.round,
    "Clip": lambda a: torch.clamp,
    "Conv": _conv,
    "MaxPool": lambda a: lambda x: functional.max_pool2d(x, 3, 2, 1),
    "Resize": lambda a: lambda x, scales: functional.interpolate(x, scale_factor=2),
    "Concat": lambda a: lambda *tensors: torch.cat(tensors, a["axis"]),
}


class TorchGraph:
    """A float32 graph, serialised, that `build_graph` made without `merged_upsampling`."""

    def __init__(self, model: bytes):
        self._graph = onnx.load_from_string(model).graph
        # Copied, for torch would write through to memory that NumPy holds read-only.
        self._weights = {
            weight.name: torch.from_numpy(numpy_helper.to_array(weight).copy())
            for weight in self._graph.initializer
        }

    @torch.inference_mode()
    def __call__(self, frames: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n h w 3"]:
        """Anonymizes frames whose height and width the network takes."""
        tensors = {**self._weights, self._graph.input[0].name: torch.from_numpy(frames)}
        for node in self._graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            inputs = [tensors[name] for name in node.input if name]
            tensors[node.output[0]] = _OPS[node.op_type](attributes)(*inputs)
        return tensors[self._graph.output[0].name].numpy()
