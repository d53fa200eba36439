"""Static int8 quantisation of an ONNX graph of f_A, by the ranges seen on calibration frames.

Kernels are int8 with a scale for each output channel, and the tensors that go into convolutions
and sums uint8 with one scale each, written as QuantizeLinear and DequantizeLinear pairs (Jacob et
al. 2018, arXiv 1712.05877, for the arithmetic). Biases, the sums inside a convolution, and all that
comes after the last one stay exact.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx
from jaxtyping import UInt8
from onnx import TensorProto, helper, numpy_helper

Range = tuple[float, float]
Run = Callable[[UInt8[np.ndarray, "n h w 3"]], Sequence[np.ndarray]]

_CONVOLUTIONS = {"Conv": 0, "ConvTranspose": 1}  # -> the kernel's axis of output channels
_TAKE_INT8 = {*_CONVOLUTIONS, "Add"}
_PASS_ON = {"Concat", "Resize", "MaxPool"}  # their outputs' values are values of their inputs


def calibrate(
    model: onnx.ModelProto,
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
    open_model: Callable[[bytes], Run],
) -> dict[str, Range]:
    """The least and the greatest value of each tensor that `quantize` makes uint8.

    Args:
      open_model: a serialised model -> a function of frames that gives all its outputs in order.
    """
    model = _copy(model)
    tensors = sorted(_sources(model))
    for tensor in tensors:
        for kind in ("ReduceMin", "ReduceMax"):
            output = f"{tensor}/{kind}"
            model.graph.node.append(helper.make_node(kind, [tensor], [output], keepdims=0))
            found = helper.make_tensor_value_info(output, TensorProto.FLOAT, [])
            model.graph.output.append(found)
    run = open_model(model.SerializeToString())
    # [frames, 1 + 2 * tensors]: after the anonymized frame least and greatest in turn
    seen = np.array([[float(value) for value in run(frame[None])[1:]] for frame in frames])
    least, greatest = seen[:, 0::2].min(axis=0), seen[:, 1::2].max(axis=0)
    return dict(zip(tensors, zip(least.tolist(), greatest.tolist(), strict=True), strict=True))


def quantize(
    model: onnx.ModelProto, ranges: dict[str, Range], *, after_each_node: bool
) -> onnx.ModelProto:
    """The graph in int8.

    Tensors that a `Concat` joins share the widest of their ranges, so that it only moves bytes:
    engines that had to bring different scales together lost 15 dB.

    Args:
      ranges: of `calibrate`.
      after_each_node: also put pairs after nodes that pass their inputs on, which onnxruntime needs
        to run them in int8; OpenVINO sees through them and is slower with more pairs.
    """
    shared = {
        tensor: (min(ranges[t][0] for t in group), max(ranges[t][1] for t in group))
        for tensor, group in _groups(model).items()
    }
    sources = _sources(model)
    result = _copy(model)
    del result.graph.node[:]
    weights = {weight.name: weight for weight in model.graph.initializer}
    renamed: dict[str, str] = {}
    for node in model.graph.node:
        output = node.output[0]
        new = onnx.NodeProto()
        new.CopyFrom(node)
        new.input[:] = [renamed.get(name, name) for name in node.input]
        if node.op_type in _CONVOLUTIONS:
            new.input[1] = _quantize_kernel(result, weights[node.input[1]], node.op_type)
        result.graph.node.append(new)
        if output in sources:
            renamed[output] = _add_pair(result, output, shared[output])
        elif after_each_node and node.op_type in _PASS_ON:
            source = min(_behind(model, output))  # whichever: they share a range
            renamed[output] = _add_pair(result, output, shared[source])
    onnx.checker.check_model(result)
    return result


def _sources(model: onnx.ModelProto) -> set[str]:
    """The tensors whose values go into convolutions and sums."""
    found: set[str] = set()
    for node in model.graph.node:
        if node.op_type in _TAKE_INT8:
            taken = node.input if node.op_type == "Add" else node.input[:1]
            found.update(*(_behind(model, tensor) for tensor in taken))
    return found


def _behind(model: onnx.ModelProto, tensor: str) -> set[str]:
    """The tensors whose values a tensor has, back through the nodes that pass them on."""
    node = next(node for node in model.graph.node if node.output[0] == tensor)
    if node.op_type not in _PASS_ON:
        return {tensor}
    taken = node.input if node.op_type == "Concat" else node.input[:1]
    return set().union(*(_behind(model, name) for name in taken))


def _groups(model: onnx.ModelProto) -> dict[str, set[str]]:
    """For each source those that meet it in a `Concat`, directly or through others."""
    groups = {tensor: {tensor} for tensor in _sources(model)}
    for node in model.graph.node:
        if node.op_type == "Concat":
            merged = set().union(*(groups[tensor] for tensor in _behind(model, node.output[0])))
            groups |= dict.fromkeys(merged, merged)
    return groups


def _quantize_kernel(result: onnx.ModelProto, kernel: onnx.TensorProto, kind: str) -> str:
    """Replaces a kernel by int8 and its scales; returns the name of the dequantised one."""
    values, axis = numpy_helper.to_array(kernel), _CONVOLUTIONS[kind]
    others = tuple(i for i in range(values.ndim) if i != axis)
    greatest = np.abs(values).max(axis=others, keepdims=True)
    scales = np.where(greatest > 0, greatest / 127, 1).astype(np.float32)
    name = kernel.name
    stored = {weight.name: weight for weight in result.graph.initializer}[name]
    stored.CopyFrom(numpy_helper.from_array(np.round(values / scales).astype(np.int8), name))
    zeros = np.zeros(values.shape[axis], np.int8)
    inputs = [name, _add(result, f"{name}/scale", scales.ravel()), _add(result, f"{name}/0", zeros)]
    result.graph.node.append(
        helper.make_node("DequantizeLinear", inputs, [f"{name}/float"], axis=axis)
    )
    return f"{name}/float"


def _add_pair(result: onnx.ModelProto, tensor: str, found: Range) -> str:
    """Adds QuantizeLinear and DequantizeLinear; returns the name of what comes out."""
    least, greatest = found
    if least >= 0:
        scale, zero = greatest / 255, 0
    else:
        # Symmetric, for engines multiply faster where zero is in the middle.
        scale, zero = max(-least, greatest) / 127, 128
    constants = [
        _add(result, f"{tensor}/scale", np.float32(scale or 1)),  # 1 where all values are zero
        _add(result, f"{tensor}/zero", np.uint8(zero)),
    ]
    int8, back = f"{tensor}/int8", f"{tensor}/float"
    result.graph.node.append(helper.make_node("QuantizeLinear", [tensor, *constants], [int8]))
    result.graph.node.append(helper.make_node("DequantizeLinear", [int8, *constants], [back]))
    return back


def _add(result: onnx.ModelProto, name: str, value: np.ndarray | np.generic) -> str:
    result.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied
