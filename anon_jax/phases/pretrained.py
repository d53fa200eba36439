"""The trunk that a pre-trained attacker starts from, out of a folder of another phase or run."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax import traverse_util
from jax.sharding import Mesh
from ml_collections import ConfigDict

from anon_jax.errors import ConfigError
from anon_jax.phases import modules
from anon_jax.sharding import replicated
from anon_jax.state import NetState, Network

_HEAD = "head"  # of every ResNet; what stands before it is the trunk
_FIELDS = ("params", "batch_stats")


def check_init_from(config: ConfigDict) -> None:
    """Checks that config.evaluate_privacy.init_from holds a trunk of networks.privacy.

    Raises:
      ConfigError: no checkpoint of a network "privacy" is there, or it has another architecture;
        names the folder, the first parameter that does not fit, and what to do.
    """
    folder = config.evaluate_privacy.init_from
    if not folder or "evaluate_privacy" not in config.phases:
        return
    stored = _shapes(_trunk(_stored_net(folder)))
    needed = _shapes(_trunk(_needed_net(config)))
    for name in [*needed, *stored]:
        if needed.get(name) != stored.get(name):
            raise ConfigError(
                f"The network in config.evaluate_privacy.init_from, {folder}, does not fit "
                f"config.networks.privacy, '{config.networks.privacy}': {name} is "
                f"{_words(stored.get(name))} there and {_words(needed.get(name))} here. Set "
                "config.networks.privacy to the network that was trained there, or name another "
                "folder"
            )


def with_trunk(config: ConfigDict, network: Network, net: NetState, mesh: Mesh) -> NetState:
    """The fresh attacker `net` with the stored trunk; its head stays new."""
    path, sharding = _latest(config.evaluate_privacy.init_from), replicated(mesh)
    wanted = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        _trunk({field: getattr(net, field) for field in _FIELDS}),
    )
    target = {"nets": {"privacy": wanted}}
    with ocp.PyTreeCheckpointer() as reader:
        restored = reader.restore(
            path,
            args=ocp.args.PyTreeRestore(
                item=target,
                partial_restore=True,
                restore_args=ocp.checkpoint_utils.construct_restore_args(target),
            ),
        )["nets"]["privacy"]
    merged = {field: {**getattr(net, field), **restored[field]} for field in _FIELDS}
    return network.with_optimizer(NetState(**merged))


def _needed_net(config: ConfigDict) -> dict[str, Any]:
    side = config.data.resolution
    # One class: the head, whose size alone depends on it, is not compared.
    net = Network(modules.attributes(config, config.networks.privacy, 1))
    shapes = net.abstract((1, side, side, 3))
    return {field: getattr(shapes, field) for field in _FIELDS}


def _stored_net(folder: str) -> dict[str, Any]:
    """Shapes of the stored network "privacy"; nothing else is read."""
    tree = ocp.PyTreeCheckpointHandler().metadata(_latest(folder)).tree
    if "privacy" not in tree.get("nets", {}):
        raise ConfigError(
            f"config.evaluate_privacy.init_from is {folder}, whose checkpoint has no network "
            f"'privacy' but {', '.join(sorted(tree.get('nets', {}))) or 'none'}; name a folder "
            "such as RUN/checkpoints/pretrain_privacy"
        )
    return {field: tree["nets"]["privacy"][field] for field in _FIELDS}


def _latest(folder: str) -> Path:
    """The state in the newest checkpoint. The folder belongs to others: it is only read."""
    path = Path(folder).expanduser().absolute()
    steps = ocp.utils.checkpoint_steps(path) if path.is_dir() else []
    states = [path / str(step) / "state" for step in sorted(steps)]
    if not states or not states[-1].is_dir():
        raise ConfigError(
            f"config.evaluate_privacy.init_from is {folder}, which holds no checkpoint; name the "
            "folder of a phase that has run, such as RUN/checkpoints/pretrain_privacy, or leave "
            "it empty"
        )
    return states[-1]


def _trunk(net: dict[str, Any]) -> dict[str, Any]:
    return {
        field: {name: part for name, part in net[field].items() if name != _HEAD}
        for field in _FIELDS
    }


def _shapes(net: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    flat = traverse_util.flatten_dict(net, sep="/")
    return {name: tuple(leaf.shape) for name, leaf in flat.items()}


def _words(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"of shape {list(shape)}"
