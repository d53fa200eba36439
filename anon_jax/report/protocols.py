"""What may be compared with what: the protocol of a run, and what sets rows of a method apart.

Two figures are comparable where the attackers that found them learned from the same records, saw
the same and had the same budget. Whatever a run fixes of that is its protocol; the rest of its
config describes the method, as far as the method uses it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from anon_jax.methods import METHODS, unused_fields
from anon_jax.report.runs import Run
from anon_jax.report.tree import at
from anon_jax.settings import PER_START, defaults, flatten

Fields = dict[str, Any]

BUDGET = "minimax.penalty.budget"
# Folders that an attacker each starts from.
INIT_FROM = ("evaluate_privacy.init_from", "evaluate_privacy.init_from_action")
ABSENT = "not set"  # of a field that the config of another version lacks
# Change what a run prints, where it reads, how fast it is, or name the run; no figure depends on
# them. The pre-training that `pretrained` names is described by the fields of its phases.
_NEUTRAL = (
    *("seed", "method", "evaluate_raw", "pretrained", "data.num_workers"),
    *("log_every", "sample_every", "checkpoint_every"),
    *PER_START,
)
# Read from results.json, which says what an empty field stood for.
_DATASETS = {
    "videos": "data.videos",
    "images": "data.images",
    "attack_videos": "attack.videos",
    "attack_images": "attack.images",
    "tested_attributes": "attack.tested_attributes",
}
_ATTACKERS = (
    *("data.", "evaluate_action.", "evaluate_privacy.", "init_from.action", "dtype"),
    *("networks.action", "networks.privacy", "networks.motion_input", "networks.dropout"),
)
# Measurements that not every run has -> the phase that makes them, and what tells the attackers
# and the test records of two of them apart.
_FURTHER = {
    "reconstruction": ("evaluate_reconstruction.", ("decoder", "split")),
    "identity": (
        "evaluate_identity.",
        ("split", "num_queries", "num_people", "chance_rank1", "chance_map"),
    ),
    "frames": ("evaluate_frames.", ("split", "videos")),
}
_FURTHER_PHASES = tuple(phase for phase, _ in _FURTHER.values())
# Of the test records: they tell two versions of a dataset of one name apart.
_RECORDS = {
    "action": ("split", "num_videos", "chance"),
    "privacy": ("split", "chance_cmap", "always_yes_f1", "left_out"),
}


def protocol_of(run: Run) -> Fields:
    """What decides whether figures of two runs are comparable: field -> value; datasets first."""
    config = _config(run)
    fields = _dataset_names(run)
    known = set(_NEUTRAL) | set(_DATASETS.values())
    fields |= {
        field: config[field]
        for field in sorted(set(config) - known)
        if field.startswith(_ATTACKERS)
    }
    fields["evaluate_privacy.networks"] = _networks(config, "evaluate_privacy.networks")
    # Each seed may have a folder of its own; what counts is whether there is such an attacker.
    fields |= {
        field: "a pre-trained network" if init_from(run, field) else "" for field in INIT_FROM
    }
    return fields | _facts(run, _RECORDS)


def further_of(run: Run) -> dict[str, Fields]:
    """{measurement: what its figures depend on}, of those that the run has made."""
    config = _config(run)
    found = {}
    for measurement, (phase, names) in _FURTHER.items():
        if any(at(method, measurement) for method in run.measured.values()):
            fields = {name: value for name, value in config.items() if name.startswith(phase)}
            # The network that "" stands for is among the facts.
            fields.pop("evaluate_reconstruction.network", None)
            networks = "evaluate_reconstruction.networks"
            if networks in fields:
                fields[networks] = _networks(config, networks)
            found[measurement] = fields | _facts(run, {measurement: names})
    return found


def init_from(run: Run, field: str) -> str:
    """The folder that a pre-trained attacker starts from; "" = there is none.

    Args:
      field: one of INIT_FROM.
    """
    return str(_config(run)[field] or "")


def variant_of(run: Run, method: str) -> Fields:
    """The fields of the config that the method's figures depend on, beyond the protocol."""
    config = _config(run)
    row = METHODS.get(method)  # None: of another version; all that it may depend on counts
    unused = [*_NEUTRAL, *_DATASETS.values(), *_ATTACKERS, *_FURTHER_PHASES]
    unused += unused_fields(row) if row else ["obfuscation."]
    if config["minimax.penalty.mode"] == "hinge":
        unused.append("minimax.penalty.multiplier_")
    return {
        field: value
        for field, value in sorted(config.items())
        if not field.startswith(tuple(unused))
    }


def group(runs: Sequence[Run]) -> list[tuple[Fields, list[Run]]]:
    """Runs of one protocol together, in the order given.

    A measurement that not every run has sets runs apart where two of them made it differently. A
    run that has not made it, as raw has no reconstruction, then stands beside each of them.
    """
    alike: dict[str, list[Run]] = {}
    for run in runs:
        alike.setdefault(key(protocol_of(run)), []).append(run)
    return [part for members in alike.values() for part in _parts(members)]


def _parts(runs: Sequence[Run]) -> list[tuple[Fields, list[Run]]]:
    """The runs of one protocol, less those whose further measurements differ."""
    found = [further_of(run) for run in runs]
    disputed = [
        name for name in _FURTHER if len({key(each[name]) for each in found if name in each}) > 1
    ]
    places = [
        frozenset((name, key(each[name])) for name in disputed if name in each) for each in found
    ]
    parts = []
    for place in dict.fromkeys(places):
        if any(place < other for other in places):
            continue
        members = [index for index, other in enumerate(places) if other <= place]
        fields = protocol_of(runs[members[0]])
        for index in members:
            for further in found[index].values():
                fields |= further
        parts.append((fields, [runs[index] for index in members]))
    return parts


def key(fields: Fields) -> str:
    """Equal for equal fields, whatever their order."""
    return json.dumps(fields, sort_keys=True, default=str)


def differing(variants: Sequence[Fields]) -> list[str]:
    """The fields that do not have the same value everywhere."""
    names = dict.fromkeys(field for fields in variants for field in fields)
    return [name for name in names if len({key({name: f.get(name, ABSENT)}) for f in variants}) > 1]


def _config(run: Run) -> Fields:
    """Its fields, with the defaults of those that are younger than it."""
    return {**defaults(), **flatten(run.config)}


def _facts(run: Run, records: Mapping[str, Sequence[str]]) -> Fields:
    """What results say about the records of measurements, from the first method that has them."""
    fields: Fields = {}
    for measurement, names in records.items():
        found = [at(method, measurement) for method in run.measured.values()]
        first = next(filter(None, found), None)
        fields |= {f"{measurement}: {name}": _rounded(at(first, name)) for name in names}
    return fields


def _networks(config: Fields, field: str) -> list[Any]:
    """The attackers' networks; an empty list stands for `networks.privacy`."""
    return list(config[field] or [config.get("networks.privacy")])


def _dataset_names(run: Run) -> Fields:
    """The datasets by the fields that name them; tested_attributes alone may be left open."""
    names = {role: at(run.results, "datasets", role) for role in _DATASETS}
    names["attack_videos"] = names["attack_videos"] or names["videos"]
    names["attack_images"] = names["attack_images"] or names["images"]
    names["tested_attributes"] = names["tested_attributes"] or ""
    return {field: names[role] for role, field in _DATASETS.items()}


def _rounded(value: Any) -> Any:
    """Chance levels of the same records may differ in the last digit between machines."""
    return round(value, 6) if isinstance(value, float) and math.isfinite(value) else value
