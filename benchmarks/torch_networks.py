"""The networks in PyTorch, channels first, with the weights and the names of their Flax twins.

The residual networks are those that the parity tests prove equal to the Flax ones
(tests/torch_twins.py); UNet++ is written here for any depth.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks import workloads
from benchmarks.workloads import Workload

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import torch_twins as twins  # found through the line above

_MARKS = ((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0))


class UNetPlusPlus(nn.Module):
    """UNet++ with a ResNet encoder of BasicBlocks; the arguments are those of the Flax module."""

    def __init__(
        self, stage_sizes: Sequence[int], width: int, decoder_channels: Sequence[int]
    ) -> None:
        super().__init__()
        self.stem_conv = twins.conv(3, width, (7, 7), 2)
        self.stem_bn = nn.BatchNorm2d(width)
        self._stage_sizes, channels = stage_sizes, [width]
        for stage, size in enumerate(stage_sizes):
            for index in range(size):
                stride = 2 if stage and not index else 1
                block, out = twins.basic(
                    channels[-1] if index == 0 else width * 2**stage, width * 2**stage, stride
                )
                self.add_module(f"stage{stage + 1}_block{index}", block)
            channels.append(out)
        row, *skips = channels[::-1]  # coarsest first
        self._depth = len(channels)
        below = [row]
        for level, skip in enumerate(skips, start=1):
            nodes = [skip]
            for start in reversed(range(level)):
                out = skip if start else decoder_channels[level - 1]
                block = twins.Decoder(below[start] + sum(nodes), out)
                self.add_module(f"decoder_{start}_{level - 1}", block)
                nodes = [out, *nodes]
            below = nodes
        last = twins.Decoder(below[0], decoder_channels[-1])
        self.add_module(f"decoder_0_{self._depth - 1}", last)
        self.output_conv = twins.conv(decoder_channels[-1], 3, (3, 3), bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Frames [N, 3, H, W] in [0, 1] -> the same shape."""
        x = torch.relu(self.stem_bn(self.stem_conv(x)))
        features = [x]
        x = functional.max_pool2d(x, 3, 2, padding=1)
        for stage, size in enumerate(self._stage_sizes, start=1):
            for index in range(size):
                x = self.get_submodule(f"stage{stage}_block{index}")(x)
            features.append(x)
        below, *skips = features[::-1]
        row = [below]
        for level, skip in enumerate(skips, start=1):
            nodes = [skip]
            for start in reversed(range(level)):
                block = self.get_submodule(f"decoder_{start}_{level - 1}")
                nodes = [block(row[start], nodes), *nodes]
            row = nodes
        x = self.get_submodule(f"decoder_0_{self._depth - 1}")(row[0])
        return torch.sigmoid(self.output_conv(x))


def make_network(workload: Workload, name: str) -> nn.Module:
    """One network of `workloads.SIZES`, with torch's random weights."""
    makers: dict[str, dict[str, Any]] = {
        "full": {
            "anonymizer": lambda: UNetPlusPlus((2, 2, 2), 64, (256, 128, 64, 32)),
            "action": lambda: twins.I3DResNet(
                _MARKS, 64, ((5, 7, 7), 2), ((2, 3, 3), 2), ((2, 1, 1),) * 2, workloads.ACTIONS
            ),
            "privacy": lambda: twins.ResNet(
                twins.bottleneck, (3, 4, 6, 3), 64, (7, 2, 3, 2), projection_dim=128
            ),
        },
        "tiny": {
            "anonymizer": lambda: UNetPlusPlus((1, 1, 1), 8, (32, 16, 16, 16)),
            "action": lambda: _small_i3d(((1,), (1,), (1,)), 16),
            "privacy": lambda: _small_resnet((1, 1, 1), 16),
        },
        "one_stage": {
            "anonymizer": lambda: UNetPlusPlus((1,), 4, (4, 4)),
            "action": lambda: _small_i3d(((1,),), 4),
            "privacy": lambda: _small_resnet((1,), 4),
        },
    }  # fmt: skip
    return makers[workload.size][name]()


def _small_i3d(marks: tuple[tuple[int, ...], ...], width: int) -> nn.Module:
    stem, pool = ((3, 3, 3), (1, 2, 2)), ((1, 2, 2), (1, 2, 2))
    return twins.I3DResNet(marks, width, stem, pool, ((1, 1, 1), (1, 1, 1)), workloads.ACTIONS)


def _small_resnet(stage_sizes: tuple[int, ...], width: int) -> nn.Module:
    return twins.ResNet(twins.basic, stage_sizes, width, (3, 2, 1, 1), projection_dim=128)


def load_network(workload: Workload, name: str, folder: Path) -> nn.Module:
    """The network with the weights of `workloads.write_weights`, in evaluation mode."""
    network = make_network(workload, name)
    return twins.load(network, workloads.read_weights(folder, name)).eval()
