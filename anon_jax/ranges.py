"""What the numbers of a config may be: shares, ranges, and sizes that some machine has."""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from anon_jax.errors import ConfigError

# Fields by the end of their name. No number may be below 0, and of these none may be 0.
_POSITIVE = (
    *("batch_size", "batch_clips", "batch_images", "num_frames", "frame_stride", "resolution"),
    *("test_clips", "test_frames", "num_threads", "temperature", "validate_every", "fsdp"),
    *(".seeds", ".ensemble", ".accumulate", "adversary_steps"),
    *(".inversion_rate", ".inversion_frames", "evaluate_frames.videos"),
)
# Of shares 0 and 1 are in the range, of parts 0 is not.
_SHARES = (".grey", ".flip", ".erase", ".hue", ".jitter")
_PARTS = (".test_crop_scale",)
_BELOW_ONE = (".dropout", ".label_smoothing")
# No machine has more of it; a slip of the keyboard is to end in a sentence and not in want of
# memory, or of threads, for the whole machine.
_MOST = {
    "seed": 2**31 - 1,
    ".resolution": 2**13,
    ".num_frames": 2**12,
    ".num_threads": 2**10,
    ".num_workers": 2**10,
    ".prefetch": 2**12,
    ".ensemble": 2**8,
}
_MAX_BATCH_BYTES = 2**36  # of a batch of clips or images as uint8: 64 GiB
_CHANNELS = ("_mean", "_std")  # of networks.action_* and networks.privacy_*


def check_ranges(given: Mapping[str, Any]) -> None:
    """Checks the numbers and tuples of a config whose fields have the right types.

    Args:
      given: {field: value}, flat.

    Raises:
      ConfigError: names the field, its value, and what it may be.
    """
    for field, value in given.items():
        if _is_real(value) and not math.isfinite(value):
            raise _refused(field, value, "a finite number")
        if _is_real(value) and (value < 0 or (value == 0 and field.endswith(_POSITIVE))):
            raise _refused(field, value, "> 0" if field.endswith(_POSITIVE) else ">= 0")
        if field.endswith(_SHARES) and not 0 <= value <= 1:
            raise _refused(field, value, "within [0, 1]")
        if field.endswith(_PARTS) and not 0 < value <= 1:
            raise _refused(field, value, "within (0, 1]")
        if field.endswith(_BELOW_ONE) and not 0 <= value < 1:
            raise _refused(field, value, "within [0, 1)")
        if field.endswith(".crop_scale") and not _is_range(value):
            raise _refused(field, value, "two numbers (a, b) with 0 < a <= b <= 1")
        if field.startswith("networks.") and field.endswith(_CHANNELS):
            _check_channels(field, value)
        for end, most in _MOST.items():
            if (field == end or field.endswith(end)) and value > most:
                raise _refused(field, value, f"at most {most}")
    _check_batches(given)


def _check_channels(field: str, value: Any) -> None:
    if len(value) not in (0, 3) or not all(map(_is_number, value)):
        raise _refused(field, value, "() or three finite numbers, one a channel")
    if field.endswith("_std") and not all(number > 0 for number in value):
        raise _refused(field, value, "() or three numbers > 0")


def _check_batches(given: Mapping[str, Any]) -> None:
    """Whether a batch fits into the memory of any machine."""
    side = given["data.resolution"]
    for field, size in given.items():
        if not field.endswith(("batch_size", "batch_clips", "batch_images")):
            continue
        clips = field.endswith("batch_clips") or field.startswith("evaluate_action")
        frames = given["data.num_frames"] if clips else 1
        if size * frames * side * side * 3 > _MAX_BATCH_BYTES:
            raise ConfigError(
                f"A batch of config.{field}={size}, of {frames} frames of {side}x{side} pixels "
                f"each, takes more than {_MAX_BATCH_BYTES // 2**30} GiB; lower it, "
                "config.data.num_frames or config.data.resolution"
            )


def _is_range(value: Any) -> bool:
    return len(value) == 2 and all(map(_is_number, value)) and 0 < value[0] <= value[1] <= 1


def _is_number(value: Any) -> bool:
    return _is_real(value) and math.isfinite(value)


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _refused(field: str, value: Any, wanted: str) -> ConfigError:
    return ConfigError(f"config.{field} is {value}; it has to be {wanted}")
