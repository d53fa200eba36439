"""Networks of other libraries in torch.nn, as small as can be, with those libraries' key names."""

import torch
from torch import nn
from torch.nn import functional

I3D_MARKS = ((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0))


def _conv(cin, cout, kernel, stride=1, bias=False):
    """Convolution in 2D or 3D, by the length of `kernel`, padded with k // 2."""
    layer = {2: nn.Conv2d, 3: nn.Conv3d}[len(kernel)]
    return layer(cin, cout, kernel, stride, tuple(k // 2 for k in kernel), bias=bias)


def _norm(convolution):
    norm = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[convolution.weight.ndim]
    return norm(convolution.out_channels)


class Block(nn.Module):
    """conv1, bn1, ... and `downsample` where the shape changes: torchvision's blocks."""

    def __init__(self, convolutions, shortcut):
        super().__init__()
        self.depth = len(convolutions)
        for index, convolution in enumerate(convolutions, start=1):
            self.add_module(f"conv{index}", convolution)
            self.add_module(f"bn{index}", _norm(convolution))
        if shortcut is not None:
            self.downsample = nn.Sequential(shortcut, _norm(shortcut))

    def forward(self, x):
        y = x
        for index in range(1, self.depth + 1):
            y = getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(y))
            y = torch.relu(y) if index < self.depth else y
        return torch.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


def _block(cin, width, stride, kernels, expansion):
    """`stride` belongs to the 3x3 convolution that comes first."""
    strided = next(i for i, kernel in enumerate(kernels) if kernel[-1] == 3)
    widths = [cin, *[width] * (len(kernels) - 1), width * expansion]
    ones, spatial = (1,) * (len(kernels[0]) - 2), (stride, stride)
    convolutions = [
        _conv(a, b, kernel, (*ones, *spatial) if i == strided else 1)
        for i, (a, b, kernel) in enumerate(zip(widths, widths[1:], kernels, strict=False))
    ]
    out = width * expansion
    changes = stride > 1 or cin != out
    shortcut = _conv(cin, out, (1,) * len(kernels[0]), (*ones, *spatial)) if changes else None
    return Block(convolutions, shortcut), out


class ResNet(nn.Module):
    """torchvision's ResNet; with `marks` the I3D of pytorch-resnet3d.

    `stage_sizes` may be fewer than four; `stem` is the side of the first kernel.
    """

    def __init__(self, stage_sizes, bottleneck, num_classes, *, marks=None, width=64, stem=7):
        super().__init__()
        kernel = (5, stem, stem) if marks else (stem, stem)
        self.conv1 = _conv(3, width, kernel, 2)
        self.bn1 = _norm(self.conv1)
        self.clips, cin = bool(marks), width
        for stage, size in enumerate(stage_sizes):
            blocks = []
            for index in range(size):
                if marks:
                    kernels = [(1 + 2 * marks[stage][index], 1, 1), (1, 3, 3), (1, 1, 1)]
                else:
                    kernels = [(1, 1), (3, 3), (1, 1)] if bottleneck else [(3, 3), (3, 3)]
                stride = 2 if stage and not index else 1
                expansion = 4 if bottleneck else 1
                block, cin = _block(cin, width * 2**stage, stride, kernels, expansion)
                blocks.append(block)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.depth = len(stage_sizes)
        self.fc = nn.Linear(cin, num_classes) if num_classes else nn.Identity()

    def features(self, x):
        """What each stage gives, after the stem's."""
        x = torch.relu(self.bn1(self.conv1(x)))
        found = [x]
        if self.clips:
            x = functional.max_pool3d(x, (2, 3, 3), 2)
        else:
            x = functional.max_pool2d(x, 3, 2, padding=1)
        for stage in range(1, self.depth + 1):
            x = getattr(self, f"layer{stage}")(x)
            found.append(x)
            if self.clips and stage == 1:
                x = functional.max_pool3d(x, (2, 1, 1))
        return found

    def forward(self, x):
        return self.fc(self.features(x)[-1].flatten(2).mean(2))


class _Node(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        for name, channels in (("conv1", cin), ("conv2", cout)):
            layers = [_conv(channels, cout, (3, 3)), nn.BatchNorm2d(cout), nn.ReLU()]
            self.add_module(name, nn.Sequential(*layers))

    def forward(self, x, *skips):
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
        return self.conv2(self.conv1(torch.cat([x, *skips], dim=1)))


class _Decoder(nn.Module):
    """Nodes x_{path}_{level}: path 0 is the outermost one, level 0 the coarsest."""

    def __init__(self, skips, channels):
        super().__init__()
        self.levels = len(channels)
        widths, blocks = {}, {}
        for level in range(self.levels):
            skip = skips[level + 1] if level + 1 < self.levels else 0
            for path in range(level + 1 if skip else 1):
                below = skips[level] if path == level else widths[path, level - 1]
                out = skip if path else channels[level]
                inner = (level - path + 1) * skip
                blocks[f"x_{path}_{level}"] = _Node(below + inner, out)
                widths[path, level] = out
        self.blocks = nn.ModuleDict(blocks)

    def forward(self, features):
        """`features`: coarsest first."""
        nodes = {}
        for level in range(self.levels - 1):
            for path in reversed(range(level + 1)):
                below = features[level] if path == level else nodes[path, level - 1]
                inner = [nodes[p, level] for p in range(path + 1, level + 1)]
                node = self.blocks[f"x_{path}_{level}"]
                nodes[path, level] = node(below, *inner, features[level + 1])
        last = self.levels - 1
        return self.blocks[f"x_0_{last}"](nodes[0, last - 1])


class UnetPlusPlus(nn.Module):
    """segmentation_models_pytorch's, with a ResNet-18 as encoder and depth 4; three classes.

    The encoder keeps its fourth stage, which nothing uses.
    """

    def __init__(self, decoder_channels=(256, 128, 64, 32)):
        super().__init__()
        self.encoder = ResNet((2, 2, 2, 2), False, 0)
        self.decoder = _Decoder((256, 128, 64, 64), decoder_channels)
        self.segmentation_head = nn.Sequential(_conv(decoder_channels[-1], 3, (3, 3), bias=True))

    def forward(self, x):
        return self.segmentation_head(self.decoder(self.encoder.features(x)[3::-1]))


class _Perceptron(nn.Module):
    def __init__(self, cin):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(cin, cin), nn.Linear(cin, 128)

    def forward(self, x):
        return functional.normalize(self.fc2(torch.relu(self.fc1(x))), dim=1)


def published_privacy():
    """f_B of the published code."""
    return nn.Sequential(ResNet((3, 4, 6, 3), True, 0), _Perceptron(2048))


class PublishedAction(nn.Module):
    """f_T of the published code: a classifier, and a perceptron that it does not use."""

    def __init__(self, num_classes):
        super().__init__()
        self.i3d = ResNet((3, 4, 6, 3), True, num_classes, marks=I3D_MARKS)
        self.mlp = nn.Sequential()
        self.mlp.fc1, self.mlp.bn1 = nn.Linear(2048, 512), nn.BatchNorm1d(512)


def randomize(module, seed=0):
    """Draws batch norms too, so that the activations stay near 1 and no entry is a default one."""
    torch.manual_seed(seed)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter)
        elif name.endswith("weight"):  # small, as residual blocks add up
            nn.init.uniform_(parameter, 0.3, 0.7)
        else:
            nn.init.normal_(parameter, std=0.1)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer, std=0.1)
        elif name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 1.5)
    return module.eval()
