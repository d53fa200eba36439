"""Networks that start from stored weights: of a converted file, or of a phase of another run."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax import linen as nn
from flax import traverse_util
from jax.sharding import Mesh
from ml_collections import ConfigDict

from anon_jax.convert.folder import SOURCE
from anon_jax.errors import ConfigError, first_line
from anon_jax.manifest import check_manifest
from anon_jax.methods import get_method
from anon_jax.phases import modules
from anon_jax.read_json import read_json
from anon_jax.sharding import replicated
from anon_jax.state import NetState, Network
from input_pipeline.progress import say

_HEAD = "head"  # of f_T and f_B; what stands before it is the trunk, and f_A is all trunk
_FIELDS = ("params", "batch_stats")
# Field of evaluate_privacy -> the network whose trunk one more attacker starts with.
_TRUNKS = {"init_from": "privacy", "init_from_action": "action"}
# Phases whose folders have the networks.
_EXAMPLES = {"anonymizer": "reconstruct", "action": "minimax", "privacy": "pretrain_privacy"}


@dataclasses.dataclass(frozen=True)
class _Origin:
    """A folder named by the config.

    Attributes:
      field: of the config.
      folder: its value.
      network: "anonymizer", "action" or "privacy".
      keeps_head: a stored head that fits is taken over too.
      example: folder of a phase that would do.
    """

    field: str
    folder: str
    network: str
    keeps_head: bool
    example: str


def check_init_from(config: ConfigDict) -> None:
    """Checks the folders that phases of the run will start from; before anything is trained.

    Those of config.init_from, and those of the pre-trained attackers. A converted network whose
    inputs were normalised otherwise than the config says is told on stderr.

    Raises:
      ConfigError: no checkpoint of that network is there, or it has another architecture; names
        the folder, the first parameter that does not fit, and what to do.
      WorkdirError: its files are not those that were written.
    """
    for origin in _used(config):
        check_manifest(_latest(origin).parent, advice="put a copy back, or make it anew")
        stored = _shapes(_trunk(_stored_net(origin)))
        needed = _shapes(_trunk(_needed_net(config, origin.network)))
        name = f"config.networks.{origin.network}"
        for part in [*needed, *stored]:
            if needed.get(part) != stored.get(part):
                raise ConfigError(
                    f"The network in config.{origin.field}, {origin.folder}, does not fit {name}, "
                    f"'{config.networks[origin.network]}': {part} is {_words(stored.get(part))} "
                    f"there and {_words(needed.get(part))} here. Set {name} to the network that "
                    "was trained there, or name another folder"
                )
        _say_normalisation(config, origin)


def begin(config: ConfigDict, name: str, network: Network, net: NetState, mesh: Mesh) -> NetState:
    """The new network `net`, with the weights of config.init_from[name] where that names a folder.

    Its head stays new unless the stored one has the same sizes.
    """
    origin = _init_from(config, name)
    return _started(origin, network, net, mesh) if origin.folder else net


def trunks(config: ConfigDict) -> list[str]:
    """The networks, "privacy" or "action", with whose trunk an attacker each starts."""
    return [origin.network for origin in _attackers(config) if origin.folder]


def with_trunk(
    config: ConfigDict, trunk: str, network: Network, net: NetState, mesh: Mesh
) -> NetState:
    """The fresh attacker `net` with one of the `trunks`; its head stays new."""
    (origin,) = (found for found in _attackers(config) if found.network == trunk)
    return _started(origin, network, net, mesh)


def _init_from(config: ConfigDict, name: str) -> _Origin:
    return _Origin(f"init_from.{name}", config.init_from[name], name, True, _EXAMPLES[name])


def _attackers(config: ConfigDict) -> list[_Origin]:
    section = config.evaluate_privacy
    return [
        _Origin(f"evaluate_privacy.{field}", section[field], name, False, _EXAMPLES[name])
        for field, name in _TRUNKS.items()
    ]


def _used(config: ConfigDict) -> list[_Origin]:
    """The folders that a phase of this run reads."""
    method, phases = get_method(config.method), set(config.phases)
    pretrains = method.learned and not config.pretrained
    used = {
        _init_from(config, "anonymizer"): pretrains and "reconstruct" in phases,
        _init_from(config, "privacy"): pretrains
        and not method.supervised
        and "pretrain_privacy" in phases,
        _init_from(config, "action"): (method.learned and "minimax" in phases)
        or "evaluate_action" in phases,
        **dict.fromkeys(_attackers(config), "evaluate_privacy" in phases),
    }
    return [origin for origin, is_used in used.items() if is_used and origin.folder]


def _say_normalisation(config: ConfigDict, origin: _Origin) -> None:
    path = Path(origin.folder).expanduser() / SOURCE
    if not path.is_file():
        return
    try:
        found = read_json(path)["normalisation"]
        if found is None:
            return
        wanted = {f"{origin.network}_{part}": tuple(found[part]) for part in ("mean", "std")}
        trained_on = found["trained_on"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"config.{origin.field}: {path} is damaged ({first_line(error)}); put a copy back, or "
            "convert the weights anew"
        ) from error
    differing = {f: value for f, value in wanted.items() if tuple(config.networks[f]) != value}
    if differing:
        fields = " and ".join(f"config.networks.{f}={value}" for f, value in differing.items())
        say(
            f"note: the weights in config.{origin.field} were trained on inputs normalised as "
            f"usual for {trained_on}; {fields} would do the same here"
        )


def _started(origin: _Origin, network: Network, net: NetState, mesh: Mesh) -> NetState:
    """`net` with the stored trunk, and with the stored head where it is kept and fits."""
    own = {field: getattr(net, field) for field in _FIELDS}
    wanted = own if origin.keeps_head and _same_head(own, _stored_net(origin)) else _trunk(own)
    sharding = replicated(mesh)
    target = {
        "nets": {
            origin.network: jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), wanted
            )
        }
    }
    with ocp.PyTreeCheckpointer() as reader:
        restored = reader.restore(
            _latest(origin),
            args=ocp.args.PyTreeRestore(
                item=target,
                partial_restore=True,
                restore_args=ocp.checkpoint_utils.construct_restore_args(target),
            ),
        )["nets"][origin.network]
    merged = {field: {**own[field], **restored[field]} for field in _FIELDS}
    return network.with_optimizer(NetState(**merged))


def _same_head(own: dict[str, Any], stored: dict[str, Any]) -> bool:
    ours, theirs = (_shapes({_HEAD: net["params"].get(_HEAD, {})}) for net in (own, stored))
    return ours == theirs


def _needed_net(config: ConfigDict, name: str) -> dict[str, Any]:
    side, frames = config.data.resolution, config.data.num_frames
    images, clips = (1, side, side, 3), (1, frames, side, side, 3)
    # One class: the head, whose size alone depends on it, is not compared.
    needed: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
        "anonymizer": (modules.anonymizer(config), images),
        "action": (modules.action(config, 1), clips),
        "privacy": (modules.attributes(config, config.networks.privacy, 1), images),
    }
    module, shape = needed[name]
    shapes = Network(module).abstract(shape)
    return {field: getattr(shapes, field) for field in _FIELDS}


def _stored_net(origin: _Origin) -> dict[str, Any]:
    """Shapes of the stored network; nothing else is read."""
    nets = ocp.PyTreeCheckpointHandler().metadata(_latest(origin)).tree.get("nets", {})
    if origin.network not in nets:
        raise ConfigError(
            f"config.{origin.field} is {origin.folder}, whose checkpoint has no network "
            f"'{origin.network}' but {', '.join(sorted(nets)) or 'none'}; name a folder such as "
            f"RUN/checkpoints/{origin.example}, or one that python -m anon_jax.convert "
            f"--network={origin.network} has made"
        )
    return {field: nets[origin.network][field] for field in _FIELDS}


def _latest(origin: _Origin) -> Path:
    """The state in the newest checkpoint. The folder belongs to others: it is only read."""
    path = Path(origin.folder).expanduser().absolute()
    states = _states(path)
    if not states or not states[-1].is_dir():
        inside = sorted(child.name for child in path.glob("*") if _states(child))
        advice = (
            f"name one of those in it that does: {', '.join(inside)}"
            if inside
            else "name the folder of a phase that has run, such as RUN/checkpoints/"
            f"{origin.example}, or one that python -m anon_jax.convert has made, or leave it empty"
        )
        raise ConfigError(
            f"config.{origin.field} is {origin.folder}, which holds no checkpoint; {advice}"
        )
    return states[-1]


def _states(path: Path) -> list[Path]:
    """The state in each checkpoint of a folder, the newest last."""
    steps = ocp.utils.checkpoint_steps(path) if path.is_dir() else []
    return [path / str(step) / "state" for step in sorted(steps)]


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
