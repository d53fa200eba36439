"""Which layout a weight file has, which network it fills, and whether it fills all of that."""

import collections
import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from anon_jax.convert.errors import ConvertError
from anon_jax.convert.layouts import HEAD, LAYOUTS, Layout, Rule
from anon_jax.models import MODELS, build_model
from anon_jax.state import Network

Shape = tuple[int, ...]

# Large enough for each network; nothing is computed.
_EXAMPLES = {"unetpp": (1, 32, 32, 3), "i3d": (1, 16, 64, 64, 3), "resnet": (1, 32, 32, 3)}


@dataclasses.dataclass(frozen=True)
class Match:
    """What a layout makes of a file's tensors.

    Attributes:
      keys: our path -> key.
      rules: our path -> the rule that leads there.
      ignored: key -> why.
    """

    layout: Layout
    keys: dict[str, str]
    rules: dict[str, Rule]
    ignored: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Filled:
    """A network with parameters.

    Attributes:
      model: row of MODELS.
      attributes: in place of the row's; what was read off the head, none where there is no head.
      trees: {"params": ..., "batch_stats": ...}; without a head where the file has none.
    """

    model: str
    attributes: dict[str, Any]
    trees: dict[str, Any]


def recognise(tensors: Mapping[str, np.ndarray], network: str) -> Match:
    """Finds the layout by the keys.

    Raises:
      ConvertError: it is none of LAYOUTS, or one of another network.
    """
    matches = [_match(tensors, layout) for layout in LAYOUTS]
    best = max(matches, key=lambda match: _score(match, tensors))
    if 2 * _score(best, tensors) <= len(tensors) - len(best.ignored):
        raise ConvertError(_unknown(tensors))
    if best.layout.network != network:
        raise ConvertError(
            f"the keys are those of {best.layout.words}, for --network={best.layout.network}, not "
            f"for --network={network}"
        )
    return best


def fill(match: Match, tensors: Mapping[str, np.ndarray], model: str = "") -> Filled:
    """Brings the tensors into the trees of the network; every one has its place, with its shape.

    Args:
      model: row of MODELS; "" = the one whose blocks are those of the file.

    Raises:
      ConvertError: names the first key that is left over, missing, or of another shape.
    """
    model = _model(match, model)
    attributes = _head(match, tensors)
    net = Network(build_model(model, **attributes)).abstract(_EXAMPLES[match.layout.family])
    needed = traverse_util.flatten_dict(
        {"params": net.params, "batch_stats": net.batch_stats}, sep="/"
    )
    shapes = {
        path: tuple(leaf.shape)
        for path, leaf in needed.items()
        if attributes or not path.startswith(HEAD)
    }
    problem = _problem(match, tensors, shapes, model)
    if problem:
        raise ConvertError(
            f"{problem}. With {len(tensors)} tensors it looks like {match.layout.words}, and was "
            f"read as {model}"
        )
    flat = {
        path: np.ascontiguousarray(tensors[key].transpose(match.rules[path].axes))
        for path, key in match.keys.items()
    }
    return Filled(model, attributes, traverse_util.unflatten_dict(flat, sep="/"))


def _match(tensors: Mapping[str, np.ndarray], layout: Layout) -> Match:
    match = Match(layout, {}, {}, {})
    for key in tensors:
        rule = next((rule for rule in layout.rules if rule.matches(key)), None)
        if rule and rule.path:
            match.keys[rule.path_of(key)] = key
            match.rules[rule.path_of(key)] = rule
        elif rule:
            match.ignored[key] = rule.reason
    return match


def _score(match: Match, tensors: Mapping[str, np.ndarray]) -> int:
    """How many tensors the layout places; the axes tell 2D kernels from 3D ones."""
    return sum(tensors[key].ndim == len(match.rules[path].axes) for path, key in match.keys.items())


def _model(match: Match, model: str) -> str:
    """The row of MODELS: the one asked for, or the nearest one."""
    known = [name for name in MODELS if name.startswith(match.layout.family)]
    if model and model not in known:
        raise ConvertError(
            f"--arch={model} is no network for {match.layout.words}; known: {', '.join(known)}"
        )
    return model or min(known, key=lambda name: _distance(build_model(name), match))


def _distance(module: Any, match: Match) -> tuple[bool, int]:
    """Whether a network has other blocks than the file, and how many more or fewer."""
    found = [m for path in match.keys if (m := re.search(r"stage(\d+)_block(\d+)/(\w+)", path))]
    theirs = {(int(m[1]), int(m[2])) for m in found}
    ours = {(s, i) for s, size in enumerate(module.stage_sizes, 1) for i in range(size)}
    block = "bottleneck" if any(m[3] == "conv3" for m in found) else "basic"
    return getattr(module, "block", block) != block, len(theirs ^ ours)


def _head(match: Match, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The attributes that the file's head gives to the network; {} where it has none."""
    parts = {path.split("/")[2] for path in match.keys if path.startswith(HEAD)}
    if not parts:
        return {}
    last = "linear" if parts == {"linear"} else "linear2"
    bias = match.keys.get(f"{HEAD}{last}/bias")
    size = tensors[bias].size if bias else 1  # a missing bias is found with the other places
    return (
        {"num_classes": size}
        if last == "linear"
        else {"head": "projection", "projection_dim": size}
    )


def _problem(
    match: Match, tensors: Mapping[str, np.ndarray], shapes: Mapping[str, Shape], model: str
) -> str:
    """What keeps the tensors from filling the places, as a sentence; "" = nothing."""
    placed = {key for path, key in match.keys.items() if path in shapes}
    left = [key for key in tensors if key not in placed and key not in match.ignored]
    if left:
        return f"{left[0]} is left over{_more(left)}: {model} has no place for it"
    missing = sorted(_key(match.layout, path) for path in shapes if path not in match.keys)
    if missing:
        return f"{missing[0]} is missing{_more(missing)}: {model} needs it"
    for path, key in match.keys.items():
        axes, there = match.rules[path].axes, tensors[key].shape
        needed = [shapes[path][axes.index(axis)] for axis in range(len(axes))]
        if list(there) != needed:
            return f"{key} is of shape {list(there)}, where {model} needs {needed}"
        if not np.issubdtype(tensors[key].dtype, np.floating):
            return f"{key} is of type {tensors[key].dtype}, where {model} needs floats"
    return ""


def _key(layout: Layout, path: str) -> str:
    """The key that leads to one of our paths."""
    return next((key for rule in layout.rules if (key := rule.key_of(path))), path)


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _unknown(tensors: Mapping[str, np.ndarray]) -> str:
    begins = collections.Counter(key.partition(".")[0] for key in tensors).most_common(1)[0]
    shown = ", ".join(list(tensors)[:3])
    hint = ""
    if begins[1] == len(tensors) > 1:
        hint = f" All of them begin with {begins[0]}: --prefix={begins[0]} takes that away."
    return (
        f"no known layout has its {len(tensors)} keys, such as {shown}.{hint} Known are "
        + "; ".join(layout.words for layout in LAYOUTS)
    )
