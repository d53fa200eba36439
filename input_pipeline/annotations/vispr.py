"""Reads VISPR's privacy attributes of images, and says which of them are used together."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from input_pipeline.annotations.pickles import load_arrays
from input_pipeline.errors import DataError
from input_pipeline.tables import problem_list

SIZES = {"train": 10000, "val": 4167, "test": 8000}
HINT = "The annotations of VISPR are at https://tribhuvanesh.github.io/vpa"

# All 68 attributes, in the order of the official attributes.tsv.
_NAMES = """
a0_safe a1_age_approx a2_weight_approx a3_height_approx a4_gender a5_eye_color a6_hair_color
a7_fingerprint a8_signature a9_face_complete a10_face_partial a11_tattoo a12_semi_nudity
a13_full_nudity a16_race a17_color a18_ethnic_clothing a19_name_full a20_name_first
a21_name_last a23_birth_city a24_birth_date a25_nationality a26_handwriting a27_marital_status
a29_ausweis a30_credit_card a31_passport a32_drivers_license a33_student_id a35_mail a37_receipt
a38_ticket a39_disability_physical a41_injury a43_medicine a46_occupation a48_occassion_work
a49_phone a55_religion a56_sexual_orientation a57_culture a58_hobbies a59_sports
a60_occassion_personal a61_opinion_general a62_opinion_political a70_education_history
a99_legal_involvement a64_rel_personal a65_rel_social a66_rel_professional a67_rel_competitors
a68_rel_spectators a69_rel_views a73_landmark a74_address_current_complete
a75_address_current_partial a78_address_home_complete a79_address_home_partial a82_date_time
a85_username a90_email a92_email_content a97_online_conversation a102_vehicle_ownership
a103_license_plate_complete a104_license_plate_partial
"""
ATTRIBUTES = tuple(_NAMES.split())

# The two sets of SPAct (Dave et al., arXiv 2203.15205). VISPR2 is not confirmed by published code:
# change it here if it should be another.
VISPR1 = (
    "a17_color",
    "a4_gender",
    "a9_face_complete",
    "a10_face_partial",
    "a12_semi_nudity",
    "a64_rel_personal",
    "a65_rel_social",
)
VISPR2 = (
    "a6_hair_color",
    "a16_race",
    "a59_sports",
    "a1_age_approx",
    "a2_weight_approx",
    "a73_landmark",
    "a11_tattoo",
)

# The five attributes of PA-HMDB51 and STPrivacy; each is present where any of these is.
PA = {
    "skin_color": ("a17_color",),
    "face": ("a9_face_complete", "a10_face_partial"),
    "gender": ("a4_gender",),
    "nudity": ("a12_semi_nudity",),
    "relationship": ("a64_rel_personal", "a65_rel_social"),
}


def columns(labels: Collection[str], attributes: Sequence[str]) -> tuple[int, ...]:
    """1 for each of the attributes, e.g. VISPR1, that is among an image's labels, else 0."""
    return tuple(int(name in labels) for name in attributes)


def pa_columns(labels: Collection[str]) -> tuple[int, ...]:
    """1 for each attribute of PA that one of an image's labels stands for, else 0."""
    return tuple(int(any(name in labels for name in names)) for names in PA.values())


def read_vispr_json(folder: Path, split: str) -> dict[str, frozenset[str]]:
    """The labels of each image of a split, by id such as "2017_10000580".

    Args:
      folder: the folder of that split alone; its files ID.json are anywhere below it.
      split: "train", "val" or "test".

    Raises:
      DataError: a file is missing, is not of the published form, or has an unknown label.
    """
    _check_split(split)
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of annotations. {HINT}")
    labels: dict[str, frozenset[str]] = {}
    problems = []
    for path in sorted(folder.rglob("*.json")):
        found, problem = _read_labels(path)
        if path.stem in labels:
            problem = "there is another file of this name"
        if problem:
            problems.append(f"{path.relative_to(folder)}: {problem}")
        labels[path.stem] = found
    if problems:
        raise DataError(problem_list(folder, problems))
    _check_size(folder, len(labels), split)
    return labels


def read_vispr_pickle(path: Path, split: str) -> dict[str, tuple[int, ...]]:
    """The seven columns of each image of a split, 0 or 1, by id such as "2017_10000580".

    This is the form of TeD-SPAD's {train,test}_labels.pkl and of the {train,test}_VISPR1_labels.pkl
    and _VISPR2_labels.pkl that other code reads. The files do not name their columns: VISPR1 and
    VISPR2 have the order that fits the frequencies.

    Raises:
      DataError: the file is missing, cut off, or holds something else.
    """
    _check_split(split)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file of VISPR labels")
    rows: dict[str, tuple[int, ...]] = {}
    problems = []
    for name, array in load_arrays(path).items():
        if array.shape != (len(VISPR1),) or not np.isin(array, (0, 1)).all():
            problems.append(
                f"{name!r} has an array of shape {array.shape}, values {array.ravel()[:8]}, "
                f"instead of ({len(VISPR1)},) with zeros and ones"
            )
        else:
            rows[name] = tuple(int(value) for value in array)
    if problems:
        raise DataError(problem_list(path, problems))
    _check_size(path, len(rows), split)
    return rows


def _read_labels(path: Path) -> tuple[frozenset[str], str]:
    """The labels in one file, and what is wrong with it or ""."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, or no JSON
        return frozenset(), f"is no JSON: {error}"
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        return frozenset(), "has no list of labels"
    unknown = sorted(set(labels) - set(ATTRIBUTES))
    if unknown:
        return frozenset(), f"unknown label {', '.join(unknown)}; known are {ATTRIBUTES[0]} to " + (
            f"{ATTRIBUTES[-1]}, as in attributes.tsv"
        )
    return frozenset(labels), ""


def _check_split(split: str) -> None:
    if split not in SIZES:
        raise DataError(f"VISPR has no split '{split}'; the splits are {', '.join(SIZES)}")


def _check_size(path: Path, size: int, split: str) -> None:
    if size != SIZES[split]:
        raise DataError(
            f"{path}: has {size} images, but the split '{split}' of VISPR has "
            f"{SIZES[split]}. {HINT}"
        )
