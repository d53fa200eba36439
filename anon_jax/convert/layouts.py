"""The layouts of weight files that can be read: for each a table of patterns, key <-> our path.

Where the names come from, each read in the public source of the library:
  torchvision, timm: torchvision/models/resnet.py; timm's resnet18/34/50/101/152 have the same
    names. Its variants with another stem, such as resnet50d, have others and are refused.
  pytorch-resnet3d (github.com/Tushar-N/pytorch-resnet3d): models/resnet.py, class I3Res50, into
    which utils/convert_weights.py there writes the Kinetics weights, without batch counters. A
    frozen batch norm calls its factor `scale`. The variant with non-local blocks is refused.
  segmentation_models_pytorch: decoders/unetplusplus/decoder.py, encoders/resnet.py, base/modules.py
    and base/heads.py. The encoder keeps its fourth stage at depth 4, without using it.
  the code published with arXiv 2504.14301, whose networks are those above in wrappers: f_T in
    `i3d.` beside an unused perceptron `mlp.`, f_B with its contrastive head as a sequence of a
    ResNet-50 (0) and a perceptron (1). The names of the wrappers were read in public code of the
    same family (TeD-SPAD, SPAct), and no checkpoint of it was at hand.
"""

import dataclasses
import functools
import re

# Axes of a torch tensor in the order of ours.
VECTOR = (0,)
DENSE = (1, 0)  # [out, in] -> [in, out]
IMAGE = (2, 3, 1, 0)  # [out, in, h, w] -> [h, w, in, out]
CLIP = (2, 3, 4, 1, 0)  # [out, in, t, h, w] -> [t, h, w, in, out]

HEAD = "params/head/"  # where the paths of a head begin

_PLACE = re.compile(r"\{(\w+|\*)\}")


@dataclasses.dataclass(frozen=True)
class Rule:
    """What becomes of the keys of a pattern.

    Patterns and paths are read in both directions. `{name}` stands for a number, the same on both
    sides, and `{*}` for anything.

    Attributes:
      pattern: of keys.
      path: ours; "" = the keys are ignored.
      axes: those of the source in the order of ours.
      reason: of ignoring them.
    """

    pattern: str
    path: str
    axes: tuple[int, ...] = ()
    reason: str = ""

    def matches(self, key: str) -> bool:
        """Whether the rule is about the key."""
        return _regex(self.pattern).fullmatch(key) is not None

    def path_of(self, key: str) -> str:
        """Our path of a key that matches."""
        return _translate(self.pattern, self.path, key)

    def key_of(self, path: str) -> str:
        """The key of one of our paths; "" where the rule leads elsewhere."""
        return _translate(self.path, self.pattern, path) if self.path else ""


@functools.cache
def _regex(pattern: str) -> re.Pattern[str]:
    pieces = _PLACE.split(pattern)  # text, name, text, name, ..., text
    for index, piece in enumerate(pieces):
        if index % 2:
            pieces[index] = ".+" if piece == "*" else rf"(?P<{piece}>\d+)"
        else:
            pieces[index] = re.escape(piece)
    return re.compile("".join(pieces))


def _translate(source: str, target: str, text: str) -> str:
    found = _regex(source).fullmatch(text)
    return target.format(**found.groupdict()) if found else ""


@dataclasses.dataclass(frozen=True)
class Layout:
    """One kind of weight file.

    Attributes:
      name: as source.json has it.
      words: as messages have it, with its article.
      network: "anonymizer", "action" or "privacy".
      family: how the names of its networks in anon_jax.models.MODELS begin.
      rules: the first one that matches a key counts.
      trained_on: name of the data whose `mean` and `std` normalised the inputs; "" = none did.
      mean, std: of each channel, of inputs in [0, 1].
    """

    name: str
    words: str
    network: str
    family: str
    rules: tuple[Rule, ...]
    trained_on: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


_COUNTER = Rule("{*}.num_batches_tracked", "", reason="a counter that nothing reads")


def _norm(source: str, path: str) -> tuple[Rule, ...]:
    """A torch batch norm; a frozen one has `scale` for `weight`."""
    return (
        Rule(f"{source}.weight", f"params/{path}/scale", VECTOR),
        Rule(f"{source}.scale", f"params/{path}/scale", VECTOR),
        Rule(f"{source}.bias", f"params/{path}/bias", VECTOR),
        Rule(f"{source}.running_mean", f"batch_stats/{path}/mean", VECTOR),
        Rule(f"{source}.running_var", f"batch_stats/{path}/var", VECTOR),
    )


def _dense(source: str, path: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{source}.weight", f"{HEAD}{path}/kernel", DENSE),
        Rule(f"{source}.bias", f"{HEAD}{path}/bias", VECTOR),
    )


def _trunk(axes: tuple[int, ...], prefix: str = "") -> tuple[Rule, ...]:
    """A ResNet up to its pooled features, with kernels in 2D (IMAGE) or 3D (CLIP)."""
    block, ours = f"{prefix}layer{{stage}}.{{block}}", "stage{stage}_block{block}"
    return (
        _COUNTER,
        Rule(f"{prefix}conv1.weight", "params/stem_conv/kernel", axes),
        *_norm(f"{prefix}bn1", "stem_bn"),
        Rule(f"{block}.conv{{i}}.weight", f"params/{ours}/conv{{i}}/kernel", axes),
        *_norm(f"{block}.bn{{i}}", f"{ours}/bn{{i}}"),
        Rule(f"{block}.downsample.0.weight", f"params/{ours}/shortcut_conv/kernel", axes),
        *_norm(f"{block}.downsample.1", f"{ours}/shortcut_bn"),
    )


_NODE, _OURS = "decoder.blocks.x_{path}_{level}.conv{i}", "decoder_{path}_{level}"

LAYOUTS = (
    Layout(
        "resnet",
        "a ResNet of torchvision or timm",
        "privacy",
        "resnet",
        (*_trunk(IMAGE), *_dense("fc", "linear")),
        trained_on="ImageNet",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
    Layout(
        "published_privacy",
        "f_B of the published code, a ResNet with a perceptron",
        "privacy",
        "resnet",
        (*_trunk(IMAGE, "0."), *_dense("1.fc1", "linear1"), *_dense("1.fc2", "linear2")),
    ),
    Layout(
        "i3d_resnet50",
        "an I3D ResNet-50 of pytorch-resnet3d",
        "action",
        "i3d",
        (*_trunk(CLIP), *_dense("fc", "linear")),
        trained_on="Kinetics",
        # 114.75 and 57.375 of 255, the same for each channel.
        mean=(0.45, 0.45, 0.45),
        std=(0.225, 0.225, 0.225),
    ),
    Layout(
        "published_action",
        "f_T of the published code, an I3D ResNet-50 in a wrapper",
        "action",
        "i3d",
        (
            *_trunk(CLIP, "i3d."),
            *_dense("i3d.fc", "linear"),
            Rule("mlp.{*}", "", reason="the wrapper's perceptron, no part of the classifier"),
        ),
    ),
    Layout(
        "smp_unetplusplus",
        "a UNet++ of segmentation_models_pytorch",
        "anonymizer",
        "unetpp",
        (
            Rule("encoder.layer4.{*}", "", reason="a stage that depth 4 does not use"),
            *_trunk(IMAGE, "encoder."),
            Rule(f"{_NODE}.0.weight", f"params/{_OURS}/conv{{i}}/kernel", IMAGE),
            *_norm(f"{_NODE}.1", f"{_OURS}/bn{{i}}"),
            Rule("segmentation_head.0.weight", "params/output_conv/kernel", IMAGE),
            Rule("segmentation_head.0.bias", "params/output_conv/bias", VECTOR),
        ),
    ),
)
