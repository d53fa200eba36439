"""What two workdirs of the same run differ in; after kills it should be nothing."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from input_pipeline.records import RecordSource
from input_pipeline.specs import load_spec

# The only entries in which two equal runs differ: times, and the commit of a checkout that goes on.
_DIFFERENT = ("seconds", "ms_per_frame", "commit")


def differences(ours: Path, theirs: Path) -> list[str]:
    """What differs between two workdirs: newest checkpoints, metrics, results.json, leftovers."""
    folders = {path.relative_to(ours).parent for path in ours.glob("checkpoints/**/[0-9]*")}
    folders = {path for path in folders if not any(part.isdecimal() for part in path.parts)}
    problems = [
        f"parameters of {folder}"
        for folder in sorted(folders)
        if not _same(_newest(ours / folder), _newest(theirs / folder))
    ]
    files = {path.relative_to(ours) for path in ours.glob("metrics/**/*.jsonl")}
    problems += [
        f"{name}" for name in sorted(files) if (ours / name).read_bytes() != _bytes(theirs / name)
    ]
    if _figures(ours) != _figures(theirs):
        problems.append("results.json")
    return problems + [f"the file {name}" for name in sorted(_files(ours) ^ _files(theirs))]


def data_differences(ours: Path, theirs: Path) -> list[str]:
    """What differs between two data folders: files, and the records of each dataset."""
    names = sorted(path.parent.relative_to(ours) for path in ours.rglob("dataset_info.json"))
    problems = [
        f"the dataset {name}" for name in names if _records(ours, name) != _records(theirs, name)
    ]
    left = {path.relative_to(ours) for path in ours.rglob("*")}
    there = {path.relative_to(theirs) for path in theirs.rglob("*")}
    return problems + [f"the file {name} of the data" for name in sorted(left ^ there)]


def _records(data_dir: Path, name: Path) -> list[Any]:
    """All that is stored; not the files' bytes, for the order of an example's fields may differ."""
    if not (data_dir / name / "dataset_info.json").is_file():
        return []
    spec = load_spec(f"{name.parent}:{name.name}", data_dir)
    sources = [RecordSource(spec, split) for split, size in spec.split_sizes.items() if size]
    return [
        (source.split, r.id, r.group, list(r.frames), r.action, r.attributes.tolist())
        for source in sources
        for r in source
    ]


def _files(run: Path) -> set[Path]:
    """What equal runs have both: not the insides of checkpoints, nor TensorBoard's files."""
    names = {path.relative_to(run) for path in run.rglob("*")}
    inside = {name for name in names if any(part.isdecimal() for part in name.parts)}
    return {name for name in names - inside if ".tfevents." not in name.name}


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _newest(folder: Path) -> list[np.ndarray]:
    """All arrays of the newest checkpoint, on whatever devices they were."""
    steps = [path for path in folder.glob("*") if path.name.isdecimal()]
    path = max(steps, key=lambda path: int(path.name)) / "state"
    with ocp.PyTreeCheckpointer() as reader:
        tree = reader.metadata(path).item_metadata.tree
        arrays = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        restored = reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=arrays))
    return list(map(np.asarray, jax.tree.leaves(restored)))


def _same(ours: list[np.ndarray], theirs: list[np.ndarray]) -> bool:
    return len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs))


def _figures(workdir: Path) -> Any:
    def without(tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        return {key: without(value) for key, value in tree.items() if key not in _DIFFERENT}

    path = workdir / "results.json"
    return without(json.loads(path.read_text())) if path.exists() else None
