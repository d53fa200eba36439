"""PyTorch's side of the operations, channels first as torch keeps them."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.contestants import Program
from benchmarks.layer_cases import Layer, draw
from benchmarks.layer_cases import layers as layer_table


def programs(folder: Path, *, small: bool) -> dict[str, Program]:
    """Each operation forward, and forward with all its gradients."""
    del folder
    made = {}
    for name, layer in layer_table(small).items():
        op = _op(layer)
        arguments = [_first(draw("input", layer.shape))]
        if layer.features:
            arguments.append(_kernel_first(draw("kernel", layer.kernel_shape)))
        cotangent = _first(draw("cotangent", _last(op(*arguments)).shape))
        made[f"{name}: forward"] = _program(functools.partial(_forward, op, arguments))
        made[f"{name}: forward, gradients"] = _program(
            functools.partial(_gradients, op, arguments, cotangent)
        )
    return made


def _op(layer: Layer) -> Callable[..., torch.Tensor]:
    three = len(layer.window) == 3
    convolve = functional.conv3d if three else functional.conv2d
    pool = functional.max_pool3d if three else functional.max_pool2d
    padding = tuple(k // 2 for k in layer.window)
    ops: dict[str, Callable[..., torch.Tensor]] = {
        "conv": lambda x, kernel: convolve(x, kernel, None, layer.strides, padding),
        "upsampled_conv": lambda x, kernel: functional.conv2d(_upsample(x), kernel, None, 1, 1),
        "max_pool": lambda x: pool(x, layer.window, layer.strides, layer.padding),
        "upsample": _upsample,
    }
    return ops[layer.kind]


def _upsample(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def _forward(op: Callable[..., torch.Tensor], arguments: list[torch.Tensor]) -> list[torch.Tensor]:
    return [op(*arguments)]


def _gradients(
    op: Callable[..., torch.Tensor], arguments: list[torch.Tensor], cotangent: torch.Tensor
) -> list[torch.Tensor]:
    leaves = [array.detach().requires_grad_() for array in arguments]
    output = op(*leaves)
    return [output, *torch.autograd.grad(output, leaves, cotangent)]


def _program(function: Callable[[], list[torch.Tensor]]) -> Program:
    with FlopCounterMode(display=False) as counter:
        function()

    def results() -> dict[str, np.ndarray]:
        output, *gradients = function()
        found = {"output": _last(output)}
        if gradients:
            found["input gradient"] = _last(gradients[0])
        if len(gradients) > 1:
            # [cout, cin, *window] -> [*window, cin, cout]
            found["kernel gradient"] = np.moveaxis(gradients[1].numpy(), (0, 1), (-1, -2))
        return found

    return Program(function, results, {"flop": float(counter.get_total_flops())})


def _first(array: np.ndarray) -> torch.Tensor:
    """[n, *space, c] -> [n, c, *space]."""
    return torch.from_numpy(np.moveaxis(array, -1, 1).copy())


def _last(tensor: torch.Tensor) -> np.ndarray:
    """[n, c, *space] -> [n, *space, c]."""
    return np.moveaxis(tensor.detach().numpy(), 1, -1)


def _kernel_first(array: np.ndarray) -> torch.Tensor:
    """[*window, cin, cout] -> [cout, cin, *window]."""
    return torch.from_numpy(np.moveaxis(array, (-1, -2), (0, 1)).copy())
