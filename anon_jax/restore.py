"""A trained anonymizer as a function of arrays, from a run's workdir or from an exported folder."""

import hashlib
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jaxtyping import Array, UInt8
from ml_collections import ConfigDict

from anon_jax.convert.folder import SOURCE
from anon_jax.errors import WorkdirError
from anon_jax.manifest import check_manifest, write_manifest
from anon_jax.methods import METHODS
from anon_jax.phases import modules
from anon_jax.provenance import version
from anon_jax.read_json import read_json
from anon_jax.results import whole_folder, write_json
from anon_jax.shipped import checkpoint_folder, is_shipped
from anon_jax.state import NetState, Network
from anon_jax.steps import to_float

FORMAT = 1  # of an exported folder; a change that this code could not read raises it
_WEIGHTS = "anonymizer"  # the checkpoint inside an exported folder
_ORBAX_NOTE = "commit_success.txt"  # tells the folder's path, and nothing reads it
_PHASE = "minimax"  # the phase of a run that leaves the trained f_A
_DAMAGED = (ValueError, KeyError, TypeError, OSError)  # what Orbax raises for what it cannot read


class Anonymizer:
    """The frozen f_A (arXiv 2504.14301, Sec. 3) as a function of frames.

    Attributes:
      config: of the run that trained it, as a dict.
      format: of the exported folder; 0 where it comes from a workdir.
      sha256: of the weights, the same for a workdir and for what was exported from it.
      net: parameters and BatchNorm statistics, on this process's first device.
      multiple: height and width are padded to multiples of this inside, and cropped back.
    """

    def __init__(self, config: dict[str, Any], net: NetState, *, folder_format: int, sha256: str):
        self.config, self.format, self.sha256 = config, folder_format, sha256
        self._network = Network(modules.anonymizer(ConfigDict(config)))
        self.multiple = _multiple(self._network)
        self.net = net
        self._run = jax.jit(self._anonymize)

    def __call__(self, frames: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n h w 3"]:
        """Anonymizes RGB frames of any size, each on its own; compiled once per shape.

        Raises:
          ValueError: the array has another type or shape.
        """
        frames = np.asarray(frames)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise ValueError(
                "frames have to be uint8 RGB [N, H, W, 3] in [0, 255], not "
                f"{frames.dtype} {list(frames.shape)}"
            )
        if not frames.size:
            return frames.copy()
        return np.array(self._run(self.net, frames))

    def _anonymize(self, net: NetState, frames: UInt8[Array, "n h w 3"]) -> UInt8[Array, "n h w 3"]:
        height, width = frames.shape[1:3]
        # Edge replication: black borders would be contours that no training frame had.
        below, right = -height % self.multiple, -width % self.multiple
        padded = jnp.pad(to_float(frames), ((0, 0), (0, below), (0, right), (0, 0)), mode="edge")
        output, _ = self._network.apply(net, padded)
        output = jnp.clip(output[:, :height, :width], 0, 1)
        return jnp.round(output * 255).astype(jnp.uint8)


def load_anonymizer(folder: str | Path) -> Anonymizer:
    """The anonymizer of a workdir, of a folder of `save_anonymizer` or of `convert`, or "small".

    "small" is the checkpoint that comes with the package (`anon_jax.shipped`).

    Needs neither the dataset nor the number of devices that it was trained with: it runs on the
    first device of this process. Nothing is written. What is read was checked against the SHA-256
    in its manifest before; a folder of an older version has none, and a note on stderr says so.

    Raises:
      WorkdirError: there is no such folder or no checkpoint in it, it is of another kind (a method
        without f_A, another network), damaged, or of a newer format; says which.
    """
    folder = checkpoint_folder(folder).expanduser().absolute()
    stored = _read_json(folder)
    folder_format = stored.get("format", 0) if "networks" not in stored else 0
    if not isinstance(folder_format, int) or folder_format > FORMAT:
        raise WorkdirError(
            f"{folder} has format {folder_format}, and this version of anon_jax reads up to "
            f"{FORMAT}: update anon_jax"
        )
    config = stored.get("config") if folder_format else stored
    _check_config(folder, config)
    assert isinstance(config, dict)
    if folder_format:
        advice, required = "put a copy back, or export it anew", is_shipped(folder)
        check_manifest(folder, advice=advice, required=required)
        net = _exported_net(folder, config)
    else:
        net = _trained_net(folder, config)
    digest = _digest(folder, net)
    if folder_format and stored.get("sha256") != digest:
        raise WorkdirError(
            f"{folder}: the weights are not those that config.json was written for; put a copy of "
            "the whole folder back, or export it anew"
        )
    return Anonymizer(config, net, folder_format=folder_format, sha256=digest)


def save_anonymizer(workdir: str | Path, folder: str | Path) -> Path:
    """Writes f_A of a workdir (or of another exported folder) alone, whole or not at all.

    The folder has `config.json` ("format", the run's config without its paths, the weights'
    SHA-256), `anonymizer/`, an Orbax checkpoint of parameters and BatchNorm statistics, and
    `manifest.json`, the SHA-256 of all these files.

    Raises:
      WorkdirError: as `load_anonymizer`, or there is something at `folder` already.
    """
    anonymizer = load_anonymizer(workdir)
    folder = Path(folder).expanduser().absolute()
    with whole_folder(folder) as partial:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(partial / _WEIGHTS, _as_tree(anonymizer.net))
        (partial / _WEIGHTS / _ORBAX_NOTE).unlink(missing_ok=True)
        facts = {"format": FORMAT, "anon_jax": version("anon_jax")}
        facts |= {"sha256": anonymizer.sha256, "config": without_paths(anonymizer.config)}
        write_json(partial / "config.json", facts)
        write_manifest(partial)
    return folder


def without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """A run's config as others may see it: paths tell who trained it, and where."""
    data = {**config["data"], "data_dir": ""}
    start = dict.fromkeys(config.get("init_from", {}), "")
    attack = {**config.get("evaluate_privacy", {}), "init_from": "", "init_from_action": ""}
    paths = {"data": data, "init_from": start, "evaluate_privacy": attack, "pretrained": ""}
    return {**config, **paths}


def _read_json(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise WorkdirError(f"There is no folder {folder}")
    path = folder / "config.json"
    if not path.is_file():
        raise WorkdirError(
            f"{folder} has no config.json: it is neither the workdir of a run nor a folder that "
            "anon_jax.save_anonymizer, or anon_jax.convert with --network=anonymizer, wrote"
        )
    try:
        stored = read_json(path)
    except ValueError as error:
        raise WorkdirError(f"{path} is damaged: {error}. Put a copy back") from error
    if not isinstance(stored, dict):
        raise WorkdirError(f"{path} is no config of anon_jax. Put a copy back")
    return stored


def _check_config(folder: Path, config: Any) -> None:
    """Whether this is the config of a method that learns an f_A which takes whole frames."""
    if not isinstance(config, dict) or not isinstance(config.get("networks"), dict):
        raise WorkdirError(f"{folder}/config.json is no config of anon_jax: it lacks 'networks'")
    if not isinstance(config.get("data"), dict) or not isinstance(
        config["data"].get("resolution"), int
    ):
        raise WorkdirError(
            f"{folder}/config.json is no config of anon_jax: it lacks 'data.resolution'"
        )
    method = METHODS.get(config.get("method", ""))
    if method is not None and not method.learned:
        raise WorkdirError(
            f"{folder} is a run of the method '{config['method']}', which has no learned anonymizer"
        )
    if config.get("compat", {}).get("scrambled_frames"):
        raise WorkdirError(
            f"{folder}: its anonymizer was trained with compat.scrambled_frames, on pictures made "
            "of three frames each: it cannot anonymize whole frames"
        )


def _trained_net(folder: Path, config: dict[str, Any]) -> NetState:
    """f_A as the phase minimax of a workdir left it, or as it was converted."""
    like = _as_tree(_abstract(folder, config))
    converted = (folder / SOURCE).is_file()  # such a folder is itself what a phase leaves
    directory = folder if converted else folder / "checkpoints" / _PHASE
    # Orbax names a checkpoint by its step alone once it is whole.
    steps = [path for path in directory.glob("[0-9]*") if path.name.isdecimal()]
    if not steps:
        raise WorkdirError(
            f"There is no checkpoint in {directory}: the phase '{_PHASE}' of this run has not "
            "saved one yet"
        )
    latest = max(steps, key=lambda path: int(path.name))
    advice = "convert it again" if converted else "run the same command again to train it"
    check_manifest(latest, advice=f"put a copy back, or {advice}")
    return _restore(folder, latest / "state", like, inside=("nets", "anonymizer"))


def _exported_net(folder: Path, config: dict[str, Any]) -> NetState:
    """f_A of an exported folder."""
    like = _as_tree(_abstract(folder, config))
    if not (folder / _WEIGHTS).is_dir():
        raise WorkdirError(
            f"There is no checkpoint in {folder}: {_WEIGHTS}/ is missing; put a copy back, or "
            "export it anew"
        )
    return _restore(folder, folder / _WEIGHTS, like, inside=())


def _abstract(folder: Path, config: dict[str, Any]) -> NetState:
    try:
        network = Network(modules.anonymizer(ConfigDict(config)))
        side = _multiple(network)
        return network.abstract((1, side, side, 3))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WorkdirError(
            f"{folder}/config.json describes no known anonymizer: {error}. Where a newer version "
            "of anon_jax wrote it, update anon_jax"
        ) from error


def _restore(folder: Path, path: Path, like: Any, *, inside: tuple[str, ...]) -> NetState:
    """The network at the keys `inside` of a checkpoint, on this process's first device."""
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), like)
    target = like
    for key in reversed(inside):
        target = {key: target}
    arguments = ocp.args.PyTreeRestore(
        item=target,
        restore_args=ocp.checkpoint_utils.construct_restore_args(target),
        partial_restore=True,
    )
    try:
        handler = ocp.PyTreeCheckpointHandler()
        # Before anything is read, for Orbax says less about a part that does not fit.
        stored = reduce(getitem, inside, handler.metadata(epath.Path(path)).tree)
        if _shapes({name: stored[name] for name in like}) != _shapes(like):
            raise WorkdirError(
                f"{folder}: its checkpoint is not of the f_A in config.json; put copies of both "
                "back"
            )
        with ocp.Checkpointer(handler) as checkpointer:
            net = reduce(getitem, inside, checkpointer.restore(path, args=arguments))
    except _DAMAGED as error:
        raise WorkdirError(
            f"{folder}: its checkpoint is damaged, or not one of an anonymizer: {error!s:.200}"
        ) from error
    return NetState(**net)


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: tuple(leaf.shape), tree)


def _digest(folder: Path, net: NetState) -> str:
    """SHA-256 of names, shapes and values; refuses weights that are no numbers."""
    digest = hashlib.sha256()
    leaves = jax.tree_util.tree_leaves_with_path(_as_tree(net))
    for path, leaf in sorted((jax.tree_util.keystr(path), leaf) for path, leaf in leaves):
        values = np.asarray(leaf, "<f4")
        if not np.isfinite(values).all():
            raise WorkdirError(f"{folder}: the weights of {path} are not finite; train it anew")
        digest.update(f"{path}{values.shape}".encode() + values.tobytes())
    return digest.hexdigest()


def _as_tree(net: NetState) -> dict[str, Any]:
    return {"params": net.params, "batch_stats": net.batch_stats}


def _multiple(network: Network) -> int:
    """UNet++ halves a frame once more than it has stages."""
    return 2 ** (len(network.module.stage_sizes) + 1)
