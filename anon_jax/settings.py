"""Checks a config against `configs/base.py`, and a workdir against the config it began with."""

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from anon_jax import distributed, losses
from anon_jax.errors import ConfigError, WorkdirError
from anon_jax.loop import ON_NONFINITE
from anon_jax.methods import METHODS
from anon_jax.models import MODELS
from anon_jax.models.remat import REMAT
from anon_jax.optimizers import SCHEDULES
from anon_jax.privacy_terms import OBJECTIVES
from anon_jax.ranges import check_ranges
from anon_jax.read_json import read_json
from anon_jax.results import PARTIAL, write_json
from anon_jax.workdir_lock import LOCK_FILE
from configs import base
from input_pipeline.detection import DETECTORS

# May differ between two starts in one workdir: they do not change what a phase computes, but for
# the rounding of sums over other devices, or computed again. (What stopped at a loss that is no
# number may roll back at the next start; what stopped for want of memory may keep less in it.)
_DATA_PER_START = ("data.data_dir", "data.num_threads", "data.prefetch")
_HOW_TO_COMPUTE = ("devices", "fsdp", "remat", "compilation_cache")
PER_START = ("phases", "on_nonfinite", *_HOW_TO_COMPUTE, *_DATA_PER_START)
# What a start may have left that was killed before it had written its config.
_BEGUN = {LOCK_FILE, f"config{PARTIAL}"}
_CHOICES: dict[str, Iterable[Any]] = {
    "method": METHODS,
    "on_nonfinite": ON_NONFINITE,
    "dtype": ("float32", "bfloat16"),
    "remat": REMAT,
    "networks.anonymizer": [name for name in MODELS if name.startswith("unet")],
    "networks.action": [name for name in MODELS if name.startswith("i3d")],
    "networks.privacy": [name for name in MODELS if name.startswith("resnet")],
    "networks.game_privacy": ["", *(n for n in MODELS if n.startswith(("resnet", "i3d")))],
    "networks.output_activation": ("sigmoid", "identity"),
    "data.test_crops": (1, 3),
    "obfuscation.detector": DETECTORS,
    "minimax.privacy_batch_norm": ("running", "batch"),
    "minimax.penalty.mode": losses.PENALTY_MODES,
    "minimax.penalty.reduction": losses.REDUCTIONS,
    "minimax.supervised.objective": OBJECTIVES,
    "minimax.penalty.space": ("pixel", "action_feature"),
    "evaluate_privacy.source": ("images", "videos"),
    "evaluate_reconstruction.network": ["", *(name for name in MODELS if name.startswith("unet"))],
}


def check_config(config: ConfigDict) -> None:
    """Checks fields, types and values.

    Raises:
      ConfigError: names the field, what is wrong with it, and what is known instead.
    """
    given, known = flatten(config.to_dict()), flatten(base.get_config().to_dict())
    for field in given:
        if field not in known:
            raise ConfigError(_unknown_field(field, known))
    for field, default in known.items():
        if field not in given:
            raise ConfigError(f"config.{field} is missing; begin with configs.base.get_config()")
        if not _same_type(given[field], default):
            raise ConfigError(
                f"config.{field} is {given[field]!r} ({type(given[field]).__name__}); it has to be "
                f"of type {type(default).__name__}, e.g. {default!r}"
            )
        choices = SCHEDULES if field.endswith(".schedule") else _CHOICES.get(field)
        if choices and given[field] not in choices:
            raise ConfigError(_unknown_value(field, given[field], choices))
    check_ranges(given)
    attackers = [name for name in MODELS if name.startswith(("resnet", "i3d"))]
    for field, choices in (
        ("phases", base.PHASES),
        ("evaluate_privacy.networks", attackers),
        ("evaluate_reconstruction.networks", attackers),
    ):
        for value in given[field]:
            if value not in choices:
                raise ConfigError(_unknown_value(field, value, choices))
    _check_accumulation(config)
    _check_game_privacy(config)


def batch_sizes(config: ConfigDict) -> dict[str, int]:
    """{field: size} of every training batch."""
    names = ("batch_size", "batch_clips", "batch_images")
    fields = flatten(config.to_dict()).items()
    return {field: size for field, size in fields if field.rpartition(".")[2] in names}


def micro_batch_sizes(config: ConfigDict) -> dict[str, int]:
    """{field: size} of what a device step sees at once; the devices have to share each evenly.

    That of a batch that is split is named "FIELD / config.PHASE.accumulate".
    """
    sizes = {}
    for field, size in batch_sizes(config).items():
        phase = field.partition(".")[0]
        parts = config[phase].accumulate
        name = field if parts == 1 else f"{field} / config.{phase}.accumulate"
        sizes[name] = size // parts
    return sizes


def claim_workdir(workdir: Path, config: ConfigDict) -> None:
    """Writes `config.json`, or compares it with the one of an earlier start.

    Of several processes the first one does.

    Raises:
      WorkdirError: the workdir belongs to another config; lists the fields that differ.
    """
    distributed.first(lambda: _claim(workdir, config))


def _claim(workdir: Path, config: ConfigDict) -> None:
    path = workdir / "config.json"
    if path.exists():
        earlier, now = defaults() | flatten(_stored(path)), flatten(_jsonable(config))
        differing = [
            f"config.{field}: {earlier.get(field)!r} there, {now.get(field)!r} now"
            for field in sorted({*earlier, *now} - set(PER_START))
            if earlier.get(field) != now.get(field)
        ]
        if differing:
            raise WorkdirError(
                f"{workdir} belongs to a run with another config:\n  "
                + "\n  ".join(differing)
                + "\nTake another --workdir, or the same config."
            )
        return
    if workdir.exists() and {path.name for path in workdir.iterdir()} - _BEGUN:
        raise WorkdirError(f"{workdir} is neither empty nor a workdir of a run; take another one")
    write_json(path, _jsonable(config))


def check_pretrained(config: ConfigDict) -> None:
    """Checks that `config.pretrained` has networks that fit the config's.

    Raises:
      ConfigError: it is no workdir of a run, or its networks are others; lists the fields.
    """
    if not config.pretrained:
        return
    path = Path(config.pretrained).expanduser() / "config.json"
    if not path.is_file():
        raise ConfigError(
            f"config.pretrained is {config.pretrained}, which is no workdir of a run; name one "
            "that has run 'reconstruct' and 'pretrain_privacy', or leave it empty"
        )
    theirs, ours = defaults() | flatten(_stored(path)), flatten(_jsonable(config))
    names = ("anonymizer", "output_activation", "privacy", "game_privacy")
    fields = [f"networks.{name}" for name in names]
    differing = [
        f"config.{field}: {theirs.get(field)!r} there, {ours[field]!r} here"
        for field in fields
        if theirs.get(field) != ours[field]
    ]
    if differing:
        raise ConfigError(
            f"The networks of config.pretrained, {config.pretrained}, are others:\n  "
            + "\n  ".join(differing)
            + "\nSet these fields as they are there, or name another run."
        )


def defaults() -> dict[str, Any]:
    """{field: default}, flat, as JSON has them.

    What a stored config counts as that is older than a field: the default changes nothing.
    """
    return flatten(_jsonable(base.get_config()))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _stored(path: Path) -> dict[str, Any]:
    """The config.json of a workdir."""
    try:
        stored = read_json(path)
    except ValueError as error:
        raise WorkdirError(f"{path} is damaged: {error}. Put a copy back") from error
    if not isinstance(stored, dict):
        raise WorkdirError(f"{path} is no config of a run. Put a copy back")
    return stored


def _jsonable(config: ConfigDict) -> dict[str, Any]:
    return json.loads(json.dumps(config.to_dict()))


def _same_type(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, tuple):
        return isinstance(value, tuple | list)
    return isinstance(value, type(default))


def _check_accumulation(config: ConfigDict) -> None:
    """Raises ConfigError where a batch cannot be split into its phase's micro-batches."""
    contrastive = {"pretrain_privacy.batch_size"}
    if not METHODS[config.method].supervised:
        contrastive.add("minimax.batch_images")
    for field, size in batch_sizes(config).items():
        name = f"{field.partition('.')[0]}.accumulate"
        parts = config[field.partition(".")[0]].accumulate
        if size % parts:
            raise ConfigError(
                f"config.{name} is {parts}, but config.{field}, {size}, cannot be split into so "
                f"many equal micro-batches; take a divisor of {size}"
            )
        if parts > 1 and field in contrastive and size // parts < 2:
            raise ConfigError(
                f"config.{name} is {parts}, which leaves 1 image pair of config.{field} ({size}) "
                "to a micro-batch; NT-Xent needs at least 2: take a smaller one, or a larger batch"
            )


def _check_game_privacy(config: ConfigDict) -> None:
    """What another f_B in the game does not go with."""
    name = config.networks.game_privacy
    if name and METHODS[config.method].supervised:
        raise ConfigError(
            f"config.networks.game_privacy is '{name}', which learns by contrast; the method "
            f"'{config.method}' learns from labels, by config.networks.privacy: leave it empty"
        )
    if name and config.init_from.privacy:
        raise ConfigError(
            f"config.init_from.privacy has weights for config.networks.privacy, and f_B is "
            f"config.networks.game_privacy, '{name}': leave one of them empty"
        )


def _unknown_field(field: str, known: Mapping[str, Any]) -> str:
    prefix = field[: field.rfind(".") + 1]
    siblings = {name[len(prefix) :].partition(".")[0] for name in known if name.startswith(prefix)}
    close = difflib.get_close_matches(field, known, n=1)
    hint = f" Did you mean config.{close[0]}?" if close else ""
    here = ", ".join(sorted(siblings) or sorted({name.partition(".")[0] for name in known}))
    return f"config.{field} is no field of configs/base.py.{hint} Known there: {here}"


def _unknown_value(field: str, value: Any, choices: Iterable[Any]) -> str:
    known = ", ".join(str(choice) or "''" for choice in choices)
    return f"config.{field} has '{value}'; known: {known}"
