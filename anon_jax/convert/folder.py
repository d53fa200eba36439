"""Writes a converted network as a checkpoint folder, whole or not at all."""

import os
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from anon_jax.convert.errors import ConvertError
from anon_jax.manifest import write_manifest
from anon_jax.results import write_json
from anon_jax.state import NetState, new_state

SOURCE = "source.json"  # beside the checkpoint: where it comes from
_STEP = 0  # of the checkpoint: no update was made


def check_output(output: Path, *, overwrite: bool) -> None:
    """Checks that the folder may be written.

    Raises:
      ConvertError: it is there already, or it would be overwritten and is none of ours.
    """
    if not output.exists():
        return
    if not overwrite:
        raise ConvertError(f"{output} is there already; name another folder, or give --overwrite")
    if not (output / SOURCE).is_file():
        raise ConvertError(
            f"{output} has no {SOURCE}, so it was not written by this command, and is not "
            "overwritten; name another folder"
        )


def write_folder(
    output: Path,
    network: str,
    trees: dict[str, Any],
    source: dict[str, Any],
    config: dict[str, Any] | None,
) -> None:
    """Writes {"params", "batch_stats"} of `network` as a phase's checkpoint, and source.json.

    A `config` goes into config.json, by which `load_anonymizer` knows the network.

    All of it is written beside `output`, which takes its name, and the place of a former one, in
    the end.

    Raises:
      OSError: the disk is full, or the place is not to be written. Nothing is left then.
    """
    output = output.absolute()
    partial = output.with_name(f".{output.name}.partial-{os.getpid()}")
    try:
        nets = {network: NetState(**jax.tree.map(jnp.asarray, trees))}
        with ocp.CheckpointManager(partial) as manager:
            manager.save(
                _STEP, args=ocp.args.Composite(state=ocp.args.StandardSave(new_state(nets)))
            )
        write_manifest(partial / str(_STEP))
        write_json(partial / SOURCE, source)
        if config is not None:
            write_json(partial / "config.json", config)
        _take_place(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _take_place(partial: Path, output: Path) -> None:
    """`partial` becomes `output`; a former one goes only once its successor stands."""
    if not output.exists():
        partial.rename(output)
        return
    former = output.with_name(f".{output.name}.former-{os.getpid()}")
    output.rename(former)
    try:
        partial.rename(output)
    except BaseException:
        former.rename(output)
        raise
    shutil.rmtree(former)
