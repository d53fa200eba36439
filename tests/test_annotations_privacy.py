"""Published privacy attributes, on small generated files: every trap and every error."""

import json
import pickle

import numpy as np
import pytest

from input_pipeline.annotations import hmdb51, pa_hmdb51, stprivacy, vispr
from input_pipeline.annotations.pa_hmdb51 import PrivacySegments, Segment
from input_pipeline.errors import DataError
from input_pipeline.specs import UNKNOWN


def _write(path, content=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content)
    return path


# STPrivacy


def _pickled(folder, content):
    return _write(folder / "hmdb51_privacy_attribute_label.pickle", pickle.dumps(content, 4))


def test_stprivacy(tmp_path, monkeypatch):
    monkeypatch.setitem(stprivacy.SIZES, "hmdb51", 2)
    row = np.array([[1, 0, 1, 0, 0]])
    _pickled(tmp_path, {"clap/Dr. No_clap_0.mp4": row, "clap/b.mp4": 1 - row})
    assert stprivacy.read_stprivacy(tmp_path, "hmdb51") == {
        "clap/Dr. No_clap_0": (1, 0, 1, 0, 0),
        "clap/b": (0, 1, 0, 1, 1),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"clap/a.mp4": np.zeros(5, int)}, r"'clap/a.mp4' has an array of shape \(5,\)"),
        ({"clap/a.mp4": np.zeros((1, 7), int)}, r"shape \(1, 7\)"),
        ({"clap/a.mp4": np.array([[0, 1, 2, 0, 0]])}, "zeros and ones"),
        ({"clap/a.mp4": np.array([[0, 1, np.nan, 0, 0]])}, "zeros and ones"),
        ({"a.mp4": np.zeros((1, 5), int)}, "is not like 'class/name.mp4'"),
        ({"clap/a.avi": np.zeros((1, 5), int)}, "is not like 'class/name.mp4'"),
        ({"clap/a.mp4": np.zeros((1, 5), int)}, "has 1 videos instead of 6766"),
    ],
)
def test_errors_of_stprivacy(tmp_path, content, message):
    path = _pickled(tmp_path, content)
    with pytest.raises(DataError, match=message) as error:
        stprivacy.read_stprivacy(tmp_path, "hmdb51")
    assert str(path) in str(error.value)


def test_stprivacy_labels_two_datasets(tmp_path):
    with pytest.raises(DataError, match="no 'vispr', only: hmdb51, ucf101"):
        stprivacy.read_stprivacy(tmp_path, "vispr")
    with pytest.raises(DataError, match=r"no ucf101_privacy_attribute_label\.pickle"):
        stprivacy.read_stprivacy(tmp_path, "ucf101")


# PA-HMDB51


def _annotation(**changes):
    content = {name: [[0, 9, 0]] for name in stprivacy.ATTRIBUTES}
    return {"review": True, "note": "a note", **content, **changes}


@pytest.fixture
def pa(tmp_path, monkeypatch):
    """One video of each class, without a mark."""
    monkeypatch.setattr(pa_hmdb51, "NUM_VIDEOS", 51)
    for action in hmdb51.ACTIONS:
        content = {f"a_{action}_f.avi": _annotation()}
        _write(tmp_path / f"{action}.json", json.dumps(content))
    return tmp_path


def test_pa_hmdb51(pa):
    content = _annotation(face=[[0, 3, 0], [3, 5, 2], [8, 9, 0]], gender=[[0, 9, [0, 1]]])
    del content["note"]
    _write(pa / "clap.json", json.dumps({"b#(!)_clap_f.avi": content}))
    videos = pa_hmdb51.read_pa_hmdb51(pa)
    assert len(videos) == 51
    assert videos["a_chew_f.avi"].note == "a note"
    video = videos["b#(!)_clap_f.avi"]
    assert (video.action, video.review, video.note) == ("clap", True, "")
    assert video.segments["face"] == (
        Segment(0, 3, (0,)),
        Segment(3, 5, (2,)),
        Segment(8, 9, (0,)),
    )
    # skin_color, face, gender, nudity, relationship
    assert pa_hmdb51.attributes_at(video, 0) == (0, 0, 1, 0, 0)
    assert pa_hmdb51.attributes_at(video, 3) == (0, 1, 1, 0, 0)  # two segments overlap here
    assert pa_hmdb51.attributes_at(video, 6) == (0, UNKNOWN, 1, 0, 0)  # a gap
    assert pa_hmdb51.attributes_at(video, 10) == (UNKNOWN,) * 5
    assert pa_hmdb51.video_attributes(video) == (0, 1, 1, 0, 0)


def test_an_attribute_without_segments_is_unknown():
    segments = dict.fromkeys(stprivacy.ATTRIBUTES, ())
    video = PrivacySegments("clap", False, "", segments)
    assert pa_hmdb51.video_attributes(video) == (UNKNOWN,) * 5


@pytest.mark.parametrize(
    "changes",
    [
        {"face": [[5, 4, 0]]},
        {"face": [[-1, 4, 0]]},
        {"face": [[0, 4, 3]]},
        {"gender": [[0, 4, [1, 3]]]},
        {"gender": [[0, 4, []]]},
        {"face": [[0, 4, -1]]},
        {"face": [[0, 4, True]]},
        {"face": [[0, 4.5, 1]]},
        {"face": [[0, 4]]},
        {"face": [7]},
        {"face": 7},
        {"age": [[0, 4, 1]]},
        {"review": "yes"},
        {"note": 3},
    ],
)
def test_errors_of_pa_hmdb51(pa, changes):
    path = _write(pa / "clap.json", json.dumps({"a_clap_f.avi": _annotation(**changes)}))
    with pytest.raises(DataError, match=r"'a_clap_f\.avi'") as error:
        pa_hmdb51.read_pa_hmdb51(pa)
    assert str(path) in str(error.value)
    assert next(iter(changes)) in str(error.value) or "age" in changes


def test_missing_parts_of_pa_hmdb51(pa):
    _write(pa / "clap.json", json.dumps({"a_chew_f.avi": _annotation()}))
    with pytest.raises(DataError, match=r"'a_chew_f\.avi': stands in chew\.json already"):
        pa_hmdb51.read_pa_hmdb51(pa)
    _write(pa / "clap.json", "{}")
    with pytest.raises(DataError, match="hold 50 videos, not 51"):
        pa_hmdb51.read_pa_hmdb51(pa)
    for content in ("{", "[]", "\x80"):
        _write(pa / "clap.json", content.encode("latin1"))
        with pytest.raises(DataError, match=r"clap\.json: (is no JSON|should hold)"):
            pa_hmdb51.read_pa_hmdb51(pa)


# VISPR


def test_vispr_json(tmp_path, monkeypatch):
    monkeypatch.setitem(vispr.SIZES, "val", 2)
    first = {"image_path": "images/val2017/2017_1.jpg", "labels": ["a10_face_partial", "a4_gender"]}
    _write(tmp_path / "val2017" / "2017_1.json", json.dumps(first))
    _write(tmp_path / "val2017" / "2017_2.json", json.dumps({"labels": ["a0_safe"]}))
    labels = vispr.read_vispr_json(tmp_path, "val")
    assert labels == {
        "2017_1": frozenset({"a4_gender", "a10_face_partial"}),
        "2017_2": frozenset({"a0_safe"}),
    }
    assert vispr.columns(labels["2017_1"], vispr.VISPR1) == (0, 1, 0, 1, 0, 0, 0)
    assert vispr.pa_columns(labels["2017_1"]) == (0, 1, 1, 0, 0)
    assert vispr.pa_columns(labels["2017_2"]) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"labels": ["a4_gender", "a4_sex"]}', "unknown label a4_sex"),
        ('{"labels": "a4_gender"}', "has no list of labels"),
        ('{"labels": [4]}', "has no list of labels"),
        ("[]", "has no list of labels"),
        ("{", "is no JSON"),
    ],
)
def test_errors_of_vispr_json(tmp_path, content, message):
    _write(tmp_path / "val2017" / "2017_1.json", content)
    with pytest.raises(DataError, match=rf"val2017/2017_1\.json: {message}"):
        vispr.read_vispr_json(tmp_path, "val")


def test_missing_parts_of_vispr(tmp_path):
    _write(tmp_path / "x" / "2017_1.json", '{"labels": []}')
    with pytest.raises(DataError, match="has 1 images, but the split 'val' of VISPR has 4167"):
        vispr.read_vispr_json(tmp_path, "val")
    _write(tmp_path / "y" / "2017_1.json", '{"labels": []}')
    with pytest.raises(DataError, match=r"y/2017_1\.json: there is another file of this name"):
        vispr.read_vispr_json(tmp_path, "val")
    with pytest.raises(DataError, match="no split 'validation'"):
        vispr.read_vispr_json(tmp_path, "validation")
    with pytest.raises(DataError, match="no such folder"):
        vispr.read_vispr_json(tmp_path / "absent", "val")


def test_vispr_pickle(tmp_path, monkeypatch):
    monkeypatch.setitem(vispr.SIZES, "train", 1)
    path = tmp_path / "train_labels.pkl"
    with pytest.raises(DataError, match="no such file"):
        vispr.read_vispr_pickle(path, "train")
    row = np.array([1.0, 0, 0, 1, 0, 0, 0])
    _write(path, pickle.dumps({"2017_1": row}))
    assert vispr.read_vispr_pickle(path, "train") == {"2017_1": (1, 0, 0, 1, 0, 0, 0)}
    with pytest.raises(DataError, match="has 1 images"):
        vispr.read_vispr_pickle(path, "test")
    for wrong in (row[None], row[:5], row / 2):
        _write(path, pickle.dumps({"2017_1": wrong}))
        with pytest.raises(DataError, match="'2017_1' has an array of shape"):
            vispr.read_vispr_pickle(path, "train")


def test_the_tables_of_vispr():
    names = set(vispr.ATTRIBUTES)
    assert len(vispr.ATTRIBUTES) == len(names) == 68
    assert set(vispr.VISPR1) | set(vispr.VISPR2) <= names
    assert not set(vispr.VISPR1) & set(vispr.VISPR2)
    assert {name for group in vispr.PA.values() for name in group} == set(vispr.VISPR1)
    assert tuple(vispr.PA) == tuple(pa_hmdb51.VALUES) == stprivacy.ATTRIBUTES
