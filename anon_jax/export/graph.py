"""UNet++ as an ONNX graph, built from the module's attributes and the trained parameters."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from anon_jax.export.builder import Builder
from anon_jax.models.unetpp import UNetPlusPlus

OPSET = 17  # any from 13 on has these nodes; this one has been read by engines since 2022
_IR_VERSION = 8  # the one that was released with it
INPUT, OUTPUT = "frames", "anonymized"


def build_graph(module: UNetPlusPlus, net: Any, *, merged_upsampling: bool) -> onnx.ModelProto:
    """f_A as a graph from uint8 [batch, height, width, 3] to the same, all three axes dynamic.

    Height and width have to be multiples of `2 ** (len(module.stage_sizes) + 1)`. The division by
    255 and the rounding to grey levels are inside, so that engines take and give frames as they
    are. BatchNorm's running statistics are folded into the convolutions.

    Args:
      module: f_A.
      net: its `NetState`; the arrays may lie on any device.
      merged_upsampling: upsampling and the convolution after it as one transposed convolution, with
        4/9 of the operations; else as they stand in the module.
    """
    builder = Builder(net.params, net.batch_stats)
    x = _unetpp(builder, module, _floats(builder), merged_upsampling)
    output = _frames(builder, x, module.output_activation)
    axes: list[str | int | None] = ["batch", "height", "width", 3]
    graph = helper.make_graph(
        builder.nodes,
        "anonymizer",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, axes)],
        [helper.make_tensor_value_info(output, TensorProto.UINT8, axes)],
        builder.weights,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="anon_jax",
    )
    onnx.checker.check_model(model)
    return model


def _floats(builder: Builder) -> str:
    """uint8 [n, h, w, 3] -> float32 [n, 3, h, w] in [0, 1]."""
    x = builder.add("Cast", [INPUT], to=TensorProto.FLOAT)
    x = builder.add("Transpose", [x], perm=[0, 3, 1, 2])
    return builder.add("Mul", [x, builder.weight("level", np.float32(1 / 255))])


def _frames(builder: Builder, x: str, activation: str) -> str:
    """float32 [n, 3, h, w] before the output's activation -> uint8 [n, h, w, 3]."""
    if activation == "sigmoid":
        x = builder.add("Sigmoid", [x])
    x = builder.add("Mul", [x, builder.weight("white", np.float32(255))])
    x = builder.add("Clip", [x, builder.weight("black", np.float32(0)), "white"])
    x = builder.add("Round", [x])  # ties to even, as jnp.round
    x = builder.add("Transpose", [x], perm=[0, 2, 3, 1])
    return builder.add("Cast", [x], name=OUTPUT, to=TensorProto.UINT8)


def _unetpp(builder: Builder, module: UNetPlusPlus, frames: str, merged: bool) -> str:
    """The nodes of `UNetPlusPlus.__call__`, in its order and with its names."""
    levels = _encode(builder, module, frames)[::-1]  # coarsest first
    row = [levels[0]]
    for level in range(1, len(levels)):
        nodes = [levels[level]]
        for start in reversed(range(level)):
            name = f"decoder_{start}_{level - 1}"
            nodes = [_decoder_block(builder, name, row[start], nodes, merged), *nodes]
        row = nodes
    x = _decoder_block(builder, f"decoder_0_{len(levels) - 1}", row[0], [], merged)
    return builder.conv(x, "output_conv")


def _encode(builder: Builder, module: UNetPlusPlus, frames: str) -> list[str]:
    """The encoder's features at strides 2, 4, ..."""
    x = builder.add("Relu", [builder.conv(frames, "stem_conv", "stem_bn", stride=2)])
    features = [x]
    x = builder.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stage, size in enumerate(module.stage_sizes):
        for index in range(size):
            stride = 2 if stage > 0 and index == 0 else 1
            x = _basic_block(builder, f"stage{stage + 1}_block{index}", x, stride)
        features.append(x)
    return features


def _basic_block(builder: Builder, block: str, x: str, stride: int) -> str:
    y = builder.conv(x, f"{block}/conv1", f"{block}/bn1", stride=stride)
    y = builder.conv(builder.add("Relu", [y]), f"{block}/conv2", f"{block}/bn2")
    if builder.has(f"{block}/shortcut_conv"):
        x = builder.conv(x, f"{block}/shortcut_conv", f"{block}/shortcut_bn", stride=stride)
    return builder.add("Relu", [builder.add("Add", [x, y])])


def _decoder_block(builder: Builder, block: str, x: str, skips: Sequence[str], merged: bool) -> str:
    convolve = builder.upsampled_conv_merged if merged else builder.upsampled_conv
    y = builder.add("Relu", [convolve(x, skips, f"{block}/conv1", f"{block}/bn1")])
    return builder.add("Relu", [builder.conv(y, f"{block}/conv2", f"{block}/bn2")])
