"""Odd and damaged files: each is read, or ends in the input pipeline's own error."""

import contextlib
import csv
import io
import json
import resource
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_samples import (
    cases,
    damaged,
    names,
    odd_values,
    pickle_file,
    picture_file,
    video_file,
)

from input_pipeline import arrays_file
from input_pipeline.annotations import hmdb51, pa_hmdb51, ucf101, vispr
from input_pipeline.annotations.pickles import load_arrays
from input_pipeline.arrays_file import read_arrays
from input_pipeline.encoding import encode_image, encode_video
from input_pipeline.errors import DataError
from input_pipeline.labels import read_labels
from input_pipeline.specs import SPLITS, UNKNOWN

FILES = ("a.avi", "b.avi", "c.avi", "sub/d.avi")
COLUMNS = ("file", "action", "split", "group", "attribute")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder of files that tables of labels may name."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "sub").mkdir()
    for name in FILES:
        (folder / name).touch()
    return folder


def check_labels(source, content):
    path = source / "labels.csv"
    path.write_bytes(content)
    labels = read_labels(path, source, attributes=("attribute",), group="group")
    assert {video.split for video in labels.videos} <= set(SPLITS)
    sides = {(video.group, video.split) for video in labels.videos if video.group}
    assert len({group for group, _ in sides}) == len(sides)
    assert all((source / video.file).is_file() for video in labels.videos)
    values = {value for video in labels.videos for value in video.attributes}
    assert values <= {0, 1, UNKNOWN}


cells = st.one_of(
    names, st.sampled_from([*FILES, *SPLITS, "walk", "run", "0", "1", "0.0", "", "../a.avi", "/a"])
)


@cases
@given(
    st.permutations([*COLUMNS, "other"]),
    st.lists(st.lists(cells, min_size=6, max_size=6), max_size=5),
    st.sampled_from(",;\t"),
)
def test_any_table_of_labels(source, header, rows, delimiter):
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    with contextlib.suppress(DataError):
        check_labels(source, file.getvalue().encode())


GOOD = "file,action,split,group,attribute\n" + "".join(
    f"{name},{action},{split},g{i},{i % 2}\n"
    for i, (name, action, split) in enumerate(
        zip(FILES, ("walk", "run", "walk", "run"), ("train", "train", "validation", "validation"),
            strict=True)
    )
)  # fmt: skip


@cases
@given(damaged(GOOD.encode()))
def test_any_damage_to_a_table_of_labels(source, content):
    with contextlib.suppress(DataError):
        check_labels(source, content)


ucf_names = st.sampled_from(["Archery/v_Archery_g01_c01.avi", "Archery/v_Drumming_g01_c01.avi"])
hmdb_names = st.sampled_from(["film_walk_f_cm_np1_ba_med_0.avi", "film_run_0.avi"])
lines = st.one_of(
    names,
    st.tuples(st.one_of(ucf_names, hmdb_names, names), st.sampled_from(["", " 1", " 2", " 7"])).map(
        "".join
    ),
)


@cases
@given(st.lists(lines, max_size=6).map("\n".join), st.sampled_from(["train", "test"]))
def test_any_list_of_videos(source, text, split):
    path = source / "list.txt"
    path.write_text(text, encoding="utf-8")
    with contextlib.suppress(DataError):
        ucf101._read_list(path, split, ("Archery",), {})
    with contextlib.suppress(DataError):
        ucf101._read_actions(path)
    with contextlib.suppress(DataError):
        hmdb51._read_class(path, "walk")


segments = st.lists(st.lists(odd_values, max_size=4), max_size=3)
video = st.one_of(
    odd_values,
    st.fixed_dictionaries(
        {"review": st.booleans(), **dict.fromkeys(pa_hmdb51.ATTRIBUTES, segments)}
    ),
)


@cases
@given(st.dictionaries(names, video, max_size=2), st.lists(st.sampled_from(vispr.ATTRIBUTES)))
def test_any_annotation_in_json(source, content, labels):
    path = source / "a.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    for name, of_video in pa_hmdb51._read_json(path).items():
        problems = []
        pa_hmdb51._check(name, of_video, problems)
        if not problems:
            found = pa_hmdb51._segments("walk", of_video)
            assert set(pa_hmdb51.attributes_at(found, 3)) <= {0, 1, UNKNOWN}
    vispr._read_labels(path)
    path.write_text(json.dumps({**content, "labels": labels}), encoding="utf-8")
    assert vispr._read_labels(path) == (frozenset(labels), "")


@cases
@given(st.one_of(st.binary(max_size=60), *(damaged(pickle_file(p)) for p in (2, 3, 4, 5))))
def test_any_pickle(source, content):
    path = source / "a.pickle"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        for array in load_arrays(path).values():
            assert array.dtype.kind in "biuf"


@cases
@given(st.one_of(*(damaged(picture_file(kind)) for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF"))))
def test_any_picture(source, content):
    path = source / "picture"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        found = encode_image(path, short_side=8, quality=90)
        assert found.frames[0].startswith(b"\xff\xd8")


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".avi", "mpeg4")])
def test_any_video(source, suffix, codec):
    original = video_file(str(source), suffix, codec)

    @cases
    @given(damaged(original))
    def check(content):
        path = source / f"video{suffix}"
        path.write_bytes(content)
        with contextlib.suppress(DataError):
            found = encode_video(path, short_side=16, quality=90)
            assert 1 <= len(found.frames) == found.info.num_frames

    check()


def archive(arrays):
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


ARRAYS = {"ids": np.array(["a", "bc"]), "boxes": np.zeros((0, 4), np.int32), "x": np.arange(5)}


@cases
@given(damaged(archive(ARRAYS)))
def test_any_file_of_arrays(source, content):
    path = source / "a.npz"
    path.write_bytes(content)
    with contextlib.suppress(ValueError, OSError):  # zipfile may seek to where nothing is
        assert set(read_arrays(path, ARRAYS)) == set(ARRAYS)


def test_a_file_of_arrays_is_what_numpy_reads(source):
    path = source / "a.npz"
    arrays = {**ARRAYS, "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    path.write_bytes(archive(arrays))
    for name, array in read_arrays(path, arrays).items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype


def npy(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<i8", "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


@pytest.mark.parametrize(
    ("shape", "zeros", "sentence"),
    [
        ((2**40,), 0, "cannot have 0 bytes"),  # NumPy would take 8 TiB first
        ((2**62, 4), 0, "cannot have 0 bytes"),
        ((-1,), 8, "is not read"),
        ((2**17,), 2**20, r"have 1048704 bytes; at most 1000000 are read"),  # a kilobyte, packed
    ],
)
def test_a_bomb_is_refused_before_memory_is_taken(source, monkeypatch, shape, zeros, sentence):
    monkeypatch.setattr(arrays_file, "MAX_BYTES", 10**6)
    path = source / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", npy(shape) + bytes(zeros))
    assert path.stat().st_size < 2000
    with pytest.raises(ValueError, match=sentence):
        read_arrays(path, ["x"])


@pytest.mark.parametrize("side", [2**13 + 1, 2**15, 2**31 - 1])
def test_a_picture_that_promises_too_many_pixels_is_refused(source, side):
    """A header alone: what follows it would unpack to side x side pixels."""
    content = bytearray(picture_file("PNG"))
    header = content[12:16] + side.to_bytes(4, "big") * 2 + content[24:29]
    content[12:33] = header + zlib.crc32(header).to_bytes(4, "big")
    path = source / "bomb.png"
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=rf"{side}x{side} pixels|cannot be read as an image"):
        encode_image(path, short_side=8, quality=90)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB
