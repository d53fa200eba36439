"""The networks once more in torch.nn, channels first, with this project's names for the weights."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def conv(cin, cout, kernel, stride=1, bias=False):
    """Convolution in 2D or 3D, by the length of `kernel`, padded with k // 2."""
    layer = {2: nn.Conv2d, 3: nn.Conv3d}[len(kernel)]
    return layer(cin, cout, kernel, stride, tuple(k // 2 for k in kernel), bias=bias)


class Residual(nn.Module):
    """Convolutions with batch norms, and a projected shortcut where the shape changes."""

    def __init__(self, convolutions, shortcut):
        super().__init__()
        norm = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[convolutions[0].weight.ndim]
        self.depth = len(convolutions)
        for index, layer in enumerate(convolutions, start=1):
            self.add_module(f"conv{index}", layer)
            self.add_module(f"bn{index}", norm(layer.out_channels))
        self.shortcut_conv = shortcut
        self.shortcut_bn = None if shortcut is None else norm(shortcut.out_channels)

    def forward(self, x):
        y = x
        for index in range(1, self.depth + 1):
            y = getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(y))
            y = torch.relu(y) if index < self.depth else y
        if self.shortcut_conv is not None:
            x = self.shortcut_bn(self.shortcut_conv(x))
        return torch.relu(x + y)


def basic(cin, width, stride):
    """Return BasicBlock and its number of output channels."""
    shortcut = conv(cin, width, (1, 1), stride) if stride > 1 or cin != width else None
    layers = [conv(cin, width, (3, 3), stride), conv(width, width, (3, 3))]
    return Residual(layers, shortcut), width


def bottleneck(cin, width, stride):
    """Return Bottleneck and its number of output channels."""
    out = 4 * width
    layers = [
        conv(cin, width, (1, 1)),
        conv(width, width, (3, 3), stride),
        conv(width, out, (1, 1)),
    ]
    shortcut = conv(cin, out, (1, 1), stride) if stride > 1 or cin != out else None
    return Residual(layers, shortcut), out


def bottleneck3d(cin, width, stride, temporal):
    """Return Bottleneck3D and its number of output channels."""
    out, strides = 4 * width, (1, stride, stride)
    layers = [
        conv(cin, width, (3 if temporal else 1, 1, 1)),
        conv(width, width, (1, 3, 3), strides),
        conv(width, out, (1, 1, 1)),
    ]
    shortcut = conv(cin, out, (1, 1, 1), strides) if stride > 1 or cin != out else None
    return Residual(layers, shortcut), out


class ResNet(nn.Module):
    """2D ResNet; `stem` is (kernel, stride, pool kernel, pool stride)."""

    def __init__(self, block, stage_sizes, width, stem, num_classes=None, projection_dim=None):
        super().__init__()
        self.stem = stem
        self.stem_conv = conv(3, width, (stem[0], stem[0]), stem[1])
        self.stem_bn = nn.BatchNorm2d(width)
        channels, self.names = width, []
        for stage, size in enumerate(stage_sizes):
            for index in range(size):
                stride = 2 if stage and not index else 1
                layer, channels = block(channels, width * 2**stage, stride)
                self.names.append(f"stage{stage + 1}_block{index}")
                self.add_module(self.names[-1], layer)
        self.head = nn.Module()
        if num_classes:
            self.head.linear = nn.Linear(channels, num_classes)
        else:
            self.head.linear1 = nn.Linear(channels, channels)
            self.head.linear2 = nn.Linear(channels, projection_dim)

    def forward(self, x):
        x = torch.relu(self.stem_bn(self.stem_conv(x)))
        if self.stem[2] > 1:
            x = functional.max_pool2d(x, self.stem[2], self.stem[3], padding=self.stem[2] // 2)
        for name in self.names:
            x = getattr(self, name)(x)
        features = x.mean((2, 3))
        if hasattr(self.head, "linear"):
            return self.head.linear(features), features
        projected = self.head.linear2(torch.relu(self.head.linear1(features)))
        return functional.normalize(projected, dim=-1), features


class I3DResNet(nn.Module):
    """3D ResNet; pools are (kernel, stride)."""

    def __init__(self, marks, width, stem, stem_pool, stage1_pool, num_classes, channels_in=3):
        super().__init__()
        self.stem_conv = conv(channels_in, width, *stem)
        self.stem_bn = nn.BatchNorm3d(width)
        self.stem_pool, self.stage1_pool = stem_pool, stage1_pool
        channels, self.stages = width, []
        for stage, stage_marks in enumerate(marks):
            self.stages.append([])
            for index, temporal in enumerate(stage_marks):
                stride = 2 if stage and not index else 1
                layer, channels = bottleneck3d(channels, width * 2**stage, stride, temporal)
                self.stages[-1].append(f"stage{stage + 1}_block{index}")
                self.add_module(self.stages[-1][-1], layer)
        self.head = nn.Module()
        self.head.linear = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = torch.relu(self.stem_bn(self.stem_conv(x)))
        x = functional.max_pool3d(x, *self.stem_pool)
        for stage, names in enumerate(self.stages):
            for name in names:
                x = getattr(self, name)(x)
            if stage == 0:
                x = functional.max_pool3d(x, *self.stage1_pool)
        features = x.mean((2, 3, 4))
        return self.head.linear(features), features


class Decoder(nn.Module):
    """Upsampling, concatenation, and two convolutions."""

    def __init__(self, cin, cout):
        super().__init__()
        self.conv1, self.bn1 = conv(cin, cout, (3, 3)), nn.BatchNorm2d(cout)
        self.conv2, self.bn2 = conv(cout, cout, (3, 3)), nn.BatchNorm2d(cout)

    def forward(self, x, skips=()):
        x = torch.cat([functional.interpolate(x, scale_factor=2, mode="nearest"), *skips], dim=1)
        x = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(x)))


class UNetPlusPlus(nn.Module):
    """UNet++ of depth 4 written out node by node, `decoder_{path}_{level}`."""

    def __init__(self, width, decoder_channels, stem_kernel=7):
        super().__init__()
        w, (d0, d1, d2, d3) = width, decoder_channels
        self.stem_conv = conv(3, w, (stem_kernel, stem_kernel), 2)
        self.stem_bn = nn.BatchNorm2d(w)
        self.stage1_block0 = basic(w, w, 1)[0]
        self.stage2_block0 = basic(w, 2 * w, 2)[0]
        self.stage3_block0 = basic(2 * w, 4 * w, 2)[0]
        self.decoder_0_0 = Decoder(4 * w + 2 * w, d0)
        self.decoder_1_1 = Decoder(2 * w + w, w)
        self.decoder_2_2 = Decoder(w + w, w)
        self.decoder_0_1 = Decoder(d0 + w + w, d1)
        self.decoder_1_2 = Decoder(w + w + w, w)
        self.decoder_0_2 = Decoder(d1 + 3 * w, d2)
        self.decoder_0_3 = Decoder(d2, d3)
        self.output_conv = conv(d3, 3, (3, 3), bias=True)

    def forward(self, x):
        s2 = torch.relu(self.stem_bn(self.stem_conv(x)))
        s4 = self.stage1_block0(functional.max_pool2d(s2, 3, 2, padding=1))
        s8 = self.stage2_block0(s4)
        s16 = self.stage3_block0(s8)
        x00 = self.decoder_0_0(s16, [s8])
        x11 = self.decoder_1_1(s8, [s4])
        x22 = self.decoder_2_2(s4, [s2])
        x01 = self.decoder_0_1(x00, [x11, s4])
        x12 = self.decoder_1_2(x11, [x22, s2])
        x02 = self.decoder_0_2(x01, [x12, x22, s2])
        return torch.sigmoid(self.output_conv(self.decoder_0_3(x02)))


def load(module, variables):
    """Copy {"params", "batch_stats"} of a Flax network into its twin; all names must match."""
    names = {"kernel": "weight", "scale": "weight", "bias": "bias"}
    names |= {"mean": "running_mean", "var": "running_var"}
    state = {}

    def collect(tree, path):
        for key, value in tree.items():
            if isinstance(value, dict):
                collect(value, [*path, key])
                continue
            array = np.asarray(value)
            if key == "kernel":  # [..., cin, cout] -> [cout, cin, ...]
                array = np.moveaxis(array, (-1, -2), (0, 1))
            state[".".join([*path, names[key]])] = torch.tensor(array)

    collect(variables["params"], [])
    collect(variables["batch_stats"], [])
    result = module.load_state_dict(state, strict=False)
    missing = [k for k in result.missing_keys if not k.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        raise ValueError(f"not filled: {missing}; not used: {result.unexpected_keys}")
    return module
