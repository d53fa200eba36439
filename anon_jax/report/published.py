"""Published figures, to stand beside runs on the same datasets.

arXiv 2504.14301, tables of known and of novel actions and attributes; its rows of other methods
are from their authors. Chance levels were never printed: they are the prevalences of the test sets.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

_LEAST_ABOVE_CHANCE = 1.0  # percentage points of the published raw cMAP
_SAME_CHANCE = 0.0015  # the published prevalences are known to a tenth of a percent
Scores = tuple[float | None, float | None, float | None]


@dataclasses.dataclass(frozen=True)
class Published:
    """A table of another machine.

    Attributes:
      videos, images: prefix of the names of the datasets that f_A was trained on; "" = any.
      attack_videos: the same of the dataset whose actions were tested; "" = none was.
      attributes: the same of the dataset whose attributes were tested; "" = none was.
      chance_cmap, always_yes_f1: in percent and as F1; None where they are not known.
      rows: {method: (Top-1 %, cMAP %, F1)}; the first one is raw.
      num_videos: whose actions were tested; None where it is not known.
    """

    title: str
    videos: str
    images: str
    attack_videos: str
    attributes: str
    rows: Mapping[str, Scores]
    chance_cmap: float | None = None
    always_yes_f1: float | None = None
    num_videos: int | None = None


def matching(fields: Mapping[str, Any]) -> list[tuple[Published, bool, bool]]:
    """The tables on a protocol's datasets, and whether its actions and its attributes are theirs.

    Args:
      fields: of `protocols.protocol_of`.
    """
    of_videos = fields.get("evaluate_privacy.source") == "videos"
    attributes = fields.get("attack.tested_attributes") or fields.get(
        "attack.videos" if of_videos else "attack.images"
    )
    found = []
    for table in PUBLISHED:
        trained = _is(fields.get("data.videos"), table.videos)
        trained &= not table.images or _is(fields.get("data.images"), table.images)
        action = trained and _is(fields.get("attack.videos"), table.attack_videos)
        privacy = trained and _is(attributes, table.attributes)
        if action or privacy:
            found.append((table, action, privacy))
    return found


def differing_records(
    table: Published, fields: Mapping[str, Any], action: bool, privacy: bool
) -> list[dict[str, float]]:
    """What says that a dataset of the same name does not hold the same test records.

    Returns entries {"num_videos" or "chance_cmap": ours, "published": theirs}; a part of the
    published test set, such as a build that allows missing files, is told by either.
    """
    found: list[dict[str, float]] = []
    videos, published = fields.get("action: num_videos"), table.num_videos
    if action and videos is not None and published is not None and videos != published:
        found.append({"num_videos": videos, "published": published})
    chance = fields.get("privacy: chance_cmap")
    if privacy and chance is not None and table.chance_cmap is not None:
        theirs = table.chance_cmap / 100
        if abs(chance - theirs) > _SAME_CHANCE:
            found.append({"chance_cmap": chance, "published": theirs})
    return found


def published_rows(table: Published, action: bool, privacy: bool) -> list[dict[str, Any]]:
    """Shares in [0, 1], each beside the drop from the table's own raw row; None = not published.

    What `action` and `privacy` exclude was tested on other records than ours, and is None too.
    """
    raw = next(iter(table.rows.values()))
    return [
        {
            "method": method,
            **_beside_raw("top1", "drop", scores[0], raw[0], action),
            **_beside_raw("cmap", "cmap_drop", scores[1], raw[1], privacy),
            "kept": scores[0] / raw[0] if action and scores[0] and raw[0] else None,
            "leakage": _leakage(table, scores[1], raw[1]) if privacy else None,
            "f1": scores[2] if privacy else None,
        }
        for method, scores in table.rows.items()
    ]


def _is(name: Any, prefix: str) -> bool:
    return bool(prefix) and f"{name}/".startswith(f"{prefix}/")


def _beside_raw(
    name: str, drop: str, score: float | None, raw: float | None, shown: bool
) -> dict[str, float | None]:
    if not shown or score is None or raw is None:
        return {name: None, drop: None}
    return {name: score / 100, drop: (raw - score) / 100}


def _leakage(table: Published, cmap: float | None, raw: float | None) -> float | None:
    """Where raw is about at chance, as on PA-HMDB51, nothing can be put in relation to it."""
    if cmap is None or raw is None or table.chance_cmap is None:
        return None
    above = raw - table.chance_cmap
    return (cmap - table.chance_cmap) / above if above >= _LEAST_ABOVE_CHANCE else None


def _known(column: int) -> dict[str, Scores]:
    found = {name: scores[column] for name, scores in _KNOWN.items()}
    return {name: scores for name, scores in found.items() if scores is not None}


# Of each method: UCF101 + VISPR1, PA-HMDB51, VPHMDB.
_KNOWN: dict[str, tuple[Scores | None, ...]] = {
    "raw": ((78.88, 64.41, 0.555), (65.24, 70.2, 0.396), (81.56, 76.62, 0.684)),
    "downsample 2x": ((54.11, 57.23, 0.483), (36.1, 61.2, 0.111), (40.80, 71.35, 0.601)),
    "downsample 4x": ((39.65, 50.07, 0.379), (25.8, 41.4, 0.081), (31.32, 69.79, 0.594)),
    "blackening": ((53.13, 56.39, 0.457), (34.2, 63.8, 0.386), (38.27, 74.06, 0.649)),
    "strong blur": ((55.59, 55.94, 0.456), (36.4, 64.4, 0.243), (40.91, 74.33, 0.655)),
    "weak blur": ((61.52, 63.52, 0.523), (41.5, 69.1, 0.384), (47.24, 75.11, 0.663)),
    "VITA": ((62.10, 55.32, 0.461), (42.3, 62.3, 0.194), (48.11, 73.89, 0.638)),
    "SPAct": ((62.03, 57.43, 0.473), (43.1, 62.7, 0.176), None),
    "STPrivacy": (None, (50.61, 68.76, 0.523), (50.73, 72.48, 0.613)),
    "penalty, B = 0.3": ((78.26, 57.56, 0.468), (60.58, 65.67, 0.253), (74.61, 70.01, 0.514)),
    "penalty, B = 0.5": ((75.57, 58.04, 0.493), (55.53, 65.02, 0.191), (73.79, 70.75, 0.519)),
    "penalty, B = 0.7": ((72.99, 57.10, 0.450), (55.14, 65.19, 0.124), (69.24, 70.56, 0.516)),
    "penalty, B = 0.9": ((71.89, 57.17, 0.460), (48.54, 65.88, 0.173), (65.63, 69.95, 0.511)),
}
_NOVEL_ACTIONS = ("raw", "VITA", "SPAct", *(f"penalty, B = {b}" for b in (0.3, 0.5, 0.7, 0.9)))
_HMDB51 = (47.51, 33.2, 34.1, 41.17, 40.71, 40.01, 39.1)
_PA_HMDB51 = (67.18, 40.6, 42.8, 62.91, 58.25, 57.82, 54.95)
_VISPR2 = (
    *((57.63, 0.434), (49.6, 0.399), (47.1, 0.386)),
    *((50.22, 0.391), (49.5, 0.369), (49.92, 0.371), (50.10, 0.352)),
)
_VPUCF: dict[str, Scores] = {
    "raw": (92.23, 76.62, 0.699),
    "VITA": (77.48, 76.02, 0.669),
    "SPAct": (78.13, 75.98, 0.661),
    "STPrivacy": (81.04, 74.60, 0.645),
    "penalty, B = 0.3": (91.91, 70.91, 0.612),
    "penalty, B = 0.5": (87.58, 70.95, 0.613),
    "penalty, B = 0.7": (89.17, 70.93, 0.612),
    "penalty, B = 0.9": (78.95, 70.98, 0.614),
}

_UCF, _VISPR = ("ucf101", "vispr/vispr1"), "vispr/vispr1"
# Test videos of the official lists: split 1 of UCF101 and HMDB51, and all that PA-HMDB51 labels.
_UCF_TEST, _HMDB_TEST, _PA_HMDB_TEST = 3783, 1530, 515
PUBLISHED = (
    Published("UCF101 + VISPR1", *_UCF, "ucf101", _VISPR, _known(0), 24.8, 0.363, _UCF_TEST),
    Published(
        *("PA-HMDB51", "pa_hmdb51", "", "pa_hmdb51", "pa_hmdb51"),
        _known(1),
        69.9,
        num_videos=_PA_HMDB_TEST,
    ),
    Published("VPHMDB", "vphmdb", "", "vphmdb", "vphmdb", _known(2), 58.4, 0.688),
    Published(
        "UCF101 to HMDB51 (novel actions)",
        *(*_UCF, "hmdb51", ""),
        {name: (top1, None, None) for name, top1 in zip(_NOVEL_ACTIONS, _HMDB51, strict=True)},
        num_videos=_HMDB_TEST,
    ),
    Published(
        "UCF101 to PA-HMDB51 (novel actions)",
        *(*_UCF, "pa_hmdb51", ""),
        {name: (top1, None, None) for name, top1 in zip(_NOVEL_ACTIONS, _PA_HMDB51, strict=True)},
        num_videos=_PA_HMDB_TEST,
    ),
    Published(
        "VISPR1 to VISPR2 (novel attributes)",
        *(*_UCF, "", "vispr/vispr2"),
        {name: (None, *scores) for name, scores in zip(_NOVEL_ACTIONS, _VISPR2, strict=True)},
    ),
    Published(
        "VPHMDB to VPUCF (novel actions and attributes)",
        *("vphmdb", "", "vpucf", "vpucf"),
        _VPUCF,
        58.2,
        0.690,
    ),
)
