"""What may be compared with what: the protocol of a run, and what sets rows of a method apart.

Two figures are comparable where the attackers that found them learned from the same records, saw
the same and had the same budget. Whatever a run fixes of that is its protocol; the rest of its
config describes the method, as far as the method uses it.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

from anon_jax.methods import METHODS
from anon_jax.report.content import at
from anon_jax.report.runs import Run
from anon_jax.settings import flatten

Fields = dict[str, Any]

BUDGET = "minimax.penalty.budget"
ABSENT = "not set"  # of a field that the config of an older version lacks
# Change what a run prints, where it reads, how fast it is, or name the run; no figure depends on
# them. The pre-training that `pretrained` names is described by the fields of its phases.
_NEUTRAL = (
    *("seed", "method", "phases", "evaluate_raw", "pretrained", "devices"),
    *("log_every", "sample_every", "checkpoint_every"),
    *("data.data_dir", "data.num_workers", "data.num_threads", "data.prefetch"),
)
# Read from results.json, where no role is left open.
_DATASETS = {
    "videos": "data.videos",
    "images": "data.images",
    "attack_videos": "attack.videos",
    "attack_images": "attack.images",
}
_ATTACKERS = (
    *("data.", "evaluate_action.", "evaluate_privacy.", "dtype"),
    *("networks.action", "networks.privacy", "networks.motion_input", "networks.dropout"),
)
# Of the test records: they tell two versions of a dataset of one name apart.
_RECORDS = {
    "action": ("split", "num_videos", "chance"),
    "privacy": ("split", "chance_cmap", "always_yes_f1", "left_out"),
}


def protocol_of(run: Run) -> Fields:
    """What decides whether figures of two runs are comparable: field -> value; datasets first."""
    config = flatten(run.config)
    fields = _dataset_names(run)
    known = set(_NEUTRAL) | set(_DATASETS.values())
    fields |= {
        field: config[field]
        for field in sorted(set(config) - known)
        if field.startswith(_ATTACKERS)
    }
    for measurement, names in _RECORDS.items():
        found = [at(method, measurement) for method in run.measured.values()]
        first = next(filter(None, found), None)
        fields |= {f"{measurement}: {name}": _rounded(at(first, name)) for name in names}
    return fields


def variant_of(run: Run, method: str) -> Fields:
    """The fields of the config that the method's figures depend on, beyond the protocol."""
    config = flatten(run.config)
    row = METHODS.get(method)  # None: of another version; all that it may depend on counts
    unused = [*_NEUTRAL, *_DATASETS.values(), *_ATTACKERS]
    if row is None or row.learned:
        unused.append("obfuscation.")
    if row and not row.penalty:
        unused += ["minimax.penalty.", "minimax.weights.penalty"]
    if row and not row.learned:
        unused += ["networks.", "reconstruct.", "pretrain_privacy.", "minimax."]
    if row and not row.learned and not row.obfuscation:
        unused.append("obfuscation.")
    return {
        field: value
        for field, value in sorted(config.items())
        if not field.startswith(tuple(unused))
    }


def group(runs: Sequence[Run]) -> list[tuple[Fields, list[Run]]]:
    """Runs of one protocol together, in the order given."""
    groups: dict[str, tuple[Fields, list[Run]]] = {}
    for run in runs:
        fields = protocol_of(run)
        groups.setdefault(key(fields), (fields, []))[1].append(run)
    return list(groups.values())


def key(fields: Fields) -> str:
    """Equal for equal fields, whatever their order."""
    return json.dumps(fields, sort_keys=True, default=str)


def differing(variants: Sequence[Fields]) -> list[str]:
    """The fields that do not have the same value everywhere."""
    names = dict.fromkeys(field for fields in variants for field in fields)
    return [name for name in names if len({key({name: f.get(name, ABSENT)}) for f in variants}) > 1]


def _dataset_names(run: Run) -> Fields:
    """The four datasets by the fields that name them, none of them left open."""
    names = {role: at(run.results, "datasets", role) for role in _DATASETS}
    names["attack_videos"] = names["attack_videos"] or names["videos"]
    names["attack_images"] = names["attack_images"] or names["images"]
    return {field: names[role] for role, field in _DATASETS.items()}


def _rounded(value: Any) -> Any:
    """Chance levels of the same records may differ in the last digit between machines."""
    return round(value, 6) if isinstance(value, float) and math.isfinite(value) else value
