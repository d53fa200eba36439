"""Obfuscations: values worked out by hand, regions before the crop, the same views for all."""

import functools
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_networks import SMALL, SMALL_3D
from test_main import tiny_config

from anon_jax import main
from anon_jax.methods import METHODS
from anon_jax.models import MODELS
from input_pipeline import detect
from input_pipeline.boxes import Boxes, boxes_file, clip_boxes, load_boxes, save_boxes
from input_pipeline.errors import DataError
from input_pipeline.obfuscation import OBFUSCATIONS, RAW, Obfuscation, Obfuscator, blacken
from input_pipeline.records import Record, RecordSource
from input_pipeline.specs import load_spec
from input_pipeline.transforms import (
    Augmentation,
    EvaluationClip,
    EvaluationImage,
    TrainClip,
    TrainImage,
)

STRONG = Augmentation((0.6, 1.0), jitter=0.2, hue=0.1, grey=0.2, flip=0.5, erase=0.4)
BOX = np.array([[10, 20, 30, 16]], np.int32)
INSIDE = np.s_[10:40, 20:36]


def noise(height=60, width=80, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def detail(image):
    """Energy of the differences between neighbours: what a blur removes."""
    return float(np.square(np.diff(image.astype(float), axis=1)).mean())


def regions(name):
    return OBFUSCATIONS[name].regions


def whole(name):
    return OBFUSCATIONS[name].whole


def test_each_obfuscation_is_a_method_and_each_method_names_a_known_one():
    named = {method.obfuscation for method in METHODS.values()} - {""}
    assert named == set(OBFUSCATIONS)
    assert METHODS["raw"].obfuscation == ""
    assert not any(method.learned and method.obfuscation for method in METHODS.values())


@pytest.mark.parametrize("name", ["blacken", "weak_blur", "strong_blur"])
def test_only_the_boxes_change_and_the_given_frame_stays(name):
    frame = noise()
    before = frame.copy()
    hidden = regions(name)(frame, BOX)
    assert np.array_equal(frame, before)
    outside = np.ones(frame.shape[:2], bool)
    outside[INSIDE] = False
    assert np.array_equal(hidden[outside], frame[outside])
    assert not np.array_equal(hidden[INSIDE], frame[INSIDE])
    assert np.array_equal(regions(name)(frame, BOX[:0]), frame)


def test_a_blackened_box_is_black():
    assert (regions("blacken")(noise() | 1, BOX)[INSIDE] == 0).all()


def test_a_strong_blur_removes_more_than_a_weak_one():
    frame = noise()
    left = [detail(regions(f"{kind}_blur")(frame, BOX)[INSIDE]) for kind in ("weak", "strong")]
    # Sigma is 0.8 and 2.7 pixels here; noise of neighbours decorrelated over sigma keeps about
    # 1 / (4 sqrt(pi) sigma^3) of its differences along a line and less in two dimensions.
    assert left[1] < 0.05 * left[0] < 0.05 * 0.4 * detail(frame[INSIDE])


@pytest.mark.parametrize("side", [40, 120, 360])
@pytest.mark.parametrize(("name", "sigma"), [("weak_blur", 1 / 20), ("strong_blur", 1 / 6)])
def test_a_blur_means_the_same_at_every_resolution(name, sigma, side):
    """A step becomes the Gaussian's integral: two sigma from 16 % to 84 %."""
    frame = np.zeros((side, side, 3), np.uint8)
    frame[:, side // 2 :] = 200
    row = regions(name)(frame, np.array([[0, 0, side, side]]))[side // 2, :, 0]
    start, end = np.interp([0.1587 * 200, 0.8413 * 200], row, np.arange(side))
    # 10 %: the pixels of the smallest box, the reduced picture of the largest.
    assert (end - start) / side == pytest.approx(2 * sigma, rel=0.1)


@pytest.mark.parametrize("name", ["blacken", "weak_blur", "strong_blur"])
def test_the_order_of_overlapping_boxes_does_not_matter(name):
    frame, boxes = noise(), np.concatenate([BOX, [[0, 10, 50, 60]], [[30, 30, 20, 20]]])
    assert np.array_equal(regions(name)(frame, boxes), regions(name)(frame, boxes[::-1]))


def test_a_wide_blur_is_a_gaussian():
    """It is done on a reduced picture, against OpenCV's on the whole one."""
    frame = noise(240, 180)
    box = np.array([[0, 0, 240, 180]], np.int32)
    exact = cv2.GaussianBlur(frame, (0, 0), 180 / 6, borderType=cv2.BORDER_REPLICATE)
    found = regions("strong_blur")(frame, box)
    assert np.abs(found.astype(int) - exact).mean() < 2  # grey levels, of a range of about 20


@pytest.mark.parametrize("name", OBFUSCATIONS)
@pytest.mark.parametrize("size", [(1, 1), (2, 7), (60, 80)])
def test_a_flat_frame_stays_flat_at_any_size(name, size):
    frame = np.full((*size, 3), (10, 100, 200), np.uint8)
    obfuscation = OBFUSCATIONS[name]
    if obfuscation.whole:
        assert np.array_equal(obfuscation.whole(frame), frame)
    elif name != "blacken":
        assert np.array_equal(obfuscation.regions(frame, np.array([[0, 0, *size]])), frame)


def test_downsampling_averages_and_keeps_the_size():
    """A checkerboard of single pixels is grey after any of them: the mean of 0 and 255 is 127.5."""
    board = np.indices((32, 32)).sum(0) % 2 * 255
    board = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    for name in ("downsample2", "downsample4", "downsample8", "downsample2_blur"):
        reduced = whole(name)(board)
        assert reduced.shape == board.shape
        assert set(np.unique(reduced).tolist()) <= {127, 128}
    # Squares of 4 pixels survive a factor of 4 (their centres keep their values), not one of 8.
    board = np.kron(board[:8, :8], np.ones((4, 4, 1), np.uint8))
    assert {0, 255} <= set(np.unique(whole("downsample4")(board)).tolist())
    assert set(np.unique(whole("downsample8")(board)).tolist()) <= {127, 128}


def test_more_downsampling_and_a_blur_remove_more():
    frame = noise(112, 112)
    names = ("downsample2", "downsample2_blur", "downsample4", "downsample8")
    left = [detail(whole(name)(frame)) for name in names]
    assert left == sorted(left, reverse=True)
    assert left[0] < detail(frame)


def record(frames, name="a clip"):
    jpegs = [cv2.imencode(".png", frame[..., ::-1])[1].tobytes() for frame in frames]  # lossless
    return Record(0, name, "film", jpegs, 2, np.array([1], np.int32), 25.0, {})


def boxes_of(frames_boxes, size, **options):
    """Boxes of one record "a clip", given per frame."""
    counts = [len(boxes) for boxes in frames_boxes]
    flat = np.array([box for boxes in frames_boxes for box in boxes], np.int32).reshape(-1, 4)
    first_frames = np.array([0, len(counts)])
    return Boxes(
        {"a clip": 0}, np.array([size]), first_frames, np.cumsum([0, *counts]), flat, **options
    )


def transforms(obfuscator, augmentation=STRONG):
    """Of each kind: a function of a record and a generator."""
    clip, image = TrainClip(4, 2, 24, augmentation), TrainImage(24, augmentation, 2)
    later = {"obfuscator": obfuscator}
    return {
        "clip": lambda record, rng: TrainClip(**{**vars(clip), **later}).random_map(record, rng),
        "image": lambda record, rng: TrainImage(**{**vars(image), **later}).random_map(record, rng),
        "test clip": lambda record, _: EvaluationClip(4, 2, 24, 0.8, **later).map((record, 0, 0.5)),
        "test image": lambda record, _: EvaluationImage(24, 0.8, **later).map((record, 0, 0.5)),
    }


@pytest.mark.parametrize("kind", ["clip", "image", "test clip", "test image"])
def test_all_methods_see_the_same_views(kind):
    """A method that changes nothing, one of whole frames and one of regions, with one seed."""
    clip = record([noise(seed=seed) for seed in range(9)])
    everywhere = boxes_of([[(0, 0, 60, 80)]] * 9, (60, 80))
    halve = Obfuscation(whole=lambda frame: frame // 2)
    invert = Obfuscation(regions=lambda frame, boxes: 255 - frame)
    plain = Augmentation((0.6, 1.0), flip=0.5, erase=0.4)  # jitter would not commute with these
    for seed in range(5):
        raw, halved, inverted = (
            transforms(obfuscator, plain)[kind](clip, np.random.default_rng(seed))
            for obfuscator in (RAW, Obfuscator(halve), Obfuscator(invert, everywhere))
        )
        for name in {"frames", "image", "view_b"} & set(raw):
            assert np.array_equal(halved[name], raw[name] // 2)
            erased = (raw[name] == 0) & (inverted[name] == 0)
            # Inverting commutes with averaging of pixels up to rounding.
            difference = np.abs(inverted[name].astype(int) - (255 - raw[name].astype(int)))
            assert difference[~erased].max() <= 1
            assert erased.mean() < 0.5


def test_regions_lie_in_the_stored_frame_and_whole_frames_follow_the_view():
    frame = np.full((60, 80, 3), 200, np.uint8)
    # The test crop of 48x48 covers rows 6 to 54 and columns 16 to 64.
    for box, touched in (((0, 0, 60, 16), False), ((0, 64, 60, 16), False), (BOX[0], True)):
        boxes = boxes_of([[tuple(box)]], (60, 80))
        seen = EvaluationImage(48, 0.8, Obfuscator(Obfuscation(blacken), boxes))
        image = seen.map((record([frame]), 0.0, 0.5))["image"]
        assert (image == 0).any() == touched
        if touched:
            assert (image[4:34, 4:20] == 0).all()
            assert np.count_nonzero(image[..., 0] == 0) == 30 * 16
    sizes = []
    spy = Obfuscator(Obfuscation(whole=lambda frame: sizes.append(frame.shape) or frame))
    EvaluationImage(24, 0.8, spy).map((record([frame]), 0.0, 0.5))
    assert sizes == [(24, 24, 3)]


def test_each_frame_has_its_own_boxes():
    frames = [np.full((24, 24, 3), 100, np.uint8)] * 4
    boxes = boxes_of([[(0, 0, 6, 24)], [], [(6, 0, 6, 24), (18, 0, 6, 24)], []], (24, 24))
    clip = EvaluationClip(4, 1, 24, 1.0, obfuscator=Obfuscator(Obfuscation(blacken), boxes))
    black = (clip.map((record(frames), 0.0, 0.5))["frames"] == 0).all(axis=(2, 3))
    bands = [[row // 6 for row in np.flatnonzero(lines)[::6]] for lines in black]
    assert bands == [[0], [], [1, 3], []]


def test_boxes_are_held_over_gaps_and_grow():
    one, other = (2, 2, 10, 20), (8, 8, 4, 4)
    given = [[], [one], [], [], [other], []]

    def found(position, **options):
        boxes = boxes_of(given, (30, 40), **options)
        return boxes.of_frame(record([noise()] * 6), position, (30, 40, 3)).tolist()

    assert [found(position) for position in range(6)] == [[], [[*one]], [], [], [[*other]], []]
    held = [found(position, hold=1) for position in range(6)]
    assert held == [[[*one]], [[*one]], [[*one]], [[*other]], [[*other]], [[*other]]]
    # 10 % of 10 rows and of 20 columns on each side; whole pixels that are touched, in the frame.
    assert found(1, margin=0.1) == [[1, 0, 12, 24]]
    assert found(4, margin=0.1) == [[7, 7, 6, 6]]
    assert found(4, margin=9.0) == [[0, 0, 30, 40]]


@pytest.mark.parametrize("name", OBFUSCATIONS)
def test_worker_processes_can_be_given_any_obfuscation(name):
    boxes = boxes_of([[tuple(BOX[0])]] * 9, (60, 80), margin=0.1)
    clip, frames = TrainClip(4, 2, 24, STRONG, False, Obfuscator(OBFUSCATIONS[name], boxes)), []
    for transform in (clip, pickle.loads(pickle.dumps(clip))):
        rng = np.random.default_rng(0)
        frames.append(transform.random_map(record([noise()] * 9), rng)["frames"])
    assert np.array_equal(*frames)


def test_boxes_are_cut_at_the_frame():
    boxes = [(-5, -5, 10, 10), (25, 35, 10, 10), (5, 50, 5, 5), (3.5, 4.2, 1.0, 1.0)]
    expected = [[0, 0, 5, 5], [25, 35, 5, 5], [3, 4, 2, 2]]
    assert clip_boxes(np.array(boxes), 30, 40).tolist() == expected
    assert clip_boxes(np.zeros((0, 4)), 30, 40).shape == (0, 4)


VIDEOS, IMAGES = "moving_figures/tiny_videos", "moving_figures/tiny_images"


def all_records(spec):
    return [r for split in spec.split_sizes for r in RecordSource(spec, split)]


@pytest.fixture
def table(tiny_data_dir, tmp_path):
    """A table with a box over the left half of each frame of the videos, but of the first one's."""
    rows = [
        f"{r.id},{position},0,0,32,16"
        for r in all_records(load_spec(VIDEOS, tiny_data_dir))[1:]
        for position in range(len(r.frames))
    ]
    path = tmp_path / "boxes.csv"
    path.write_text("\n".join(["id,frame,top,left,height,width", *rows]))
    yield path
    boxes_file(load_spec(VIDEOS, tiny_data_dir), "file").unlink(missing_ok=True)


def test_boxes_of_another_build_are_refused(tiny_data_dir, tmp_path):
    spec = load_spec(VIDEOS, tiny_data_dir)
    command = f"input_pipeline.detect {VIDEOS} --data_dir={tiny_data_dir} --detector=opencv"
    with pytest.raises(DataError, match=rf"no boxes of the detector 'opencv'.*{command}"):
        load_boxes(spec, detector="opencv")
    path = boxes_file(spec, "opencv")
    records = all_records(spec)
    ids = [r.id for r in records]
    shape = cv2.imdecode(np.frombuffer(records[0].frames[0], np.uint8), 1).shape
    empty = [[BOX[:0]] * len(r.frames) for r in records]
    try:
        save_boxes(path, ids, [shape[:2]] * len(ids), empty)
        boxes = load_boxes(spec, detector="opencv")
        assert boxes.share_of_frames() == 0
        assert len(boxes.of_frame(records[0], 0, shape)) == 0
        with pytest.raises(DataError, match=f"'{ids[0]}' were found in frames of {shape[0]}x"):
            boxes.of_frame(records[0], 0, (48, 48, 3))
        save_boxes(path, ids, [shape[:2]] * len(ids), [empty[0][:-1], *empty[1:]])
        with pytest.raises(DataError, match=rf"1 records differ, e.g. '{ids[0]}' has 10 .* 9"):
            load_boxes(spec, detector="opencv")
        save_boxes(path, ids[1:], [shape[:2]] * len(ids[1:]), empty[1:])
        with pytest.raises(DataError, match=rf"another build of '{VIDEOS}'.*{command}"):
            load_boxes(spec, detector="opencv")
        path.write_bytes(b"no boxes")
        with pytest.raises(DataError, match=rf"is no file of boxes.*{command}"):
            load_boxes(spec, detector="opencv")
    finally:
        path.unlink()


@pytest.fixture(scope="module")
def small_networks():
    """Compiling takes most of a run's time."""
    small = {"i3d_tiny": SMALL_3D, "resnet_tiny": SMALL}
    with pytest.MonkeyPatch.context() as patch:
        for name, numbers in small.items():
            patch.setitem(MODELS, name, functools.partial(MODELS[name], **numbers))
        yield


@pytest.mark.parametrize("method", ["downsample2", "blacken"])
def test_a_whole_run_with_an_obfuscation(method, table, tiny_data_dir, tmp_path, small_networks):
    config = tiny_config(tiny_data_dir, method=method)
    config.obfuscation.detector = "file"
    workdir = tmp_path / "run"
    if method == "blacken":
        with pytest.raises(DataError, match=r"input_pipeline\.detect .*tiny_videos .*--boxes=FILE"):
            main.execute(config, workdir)
        assert not workdir.exists()
        command = [VIDEOS, f"--data_dir={tiny_data_dir}", "--detector=file", f"--boxes={table}"]
        assert detect.main([*command, "--workers=1"]) == 0
    main.execute(config, workdir)
    found = json.loads((workdir / "results.json").read_text())
    assert set(found["methods"]) == {"raw", method}
    own, raw = found["methods"][method], found["methods"]["raw"]
    assert own["action"]["num_videos"] == raw["action"]["num_videos"] == 24
    assert own["action"] != raw["action"]
    assert own["privacy"]["cmap"] != raw["privacy"]["cmap"]
    # Nothing is trained before the evaluations.
    assert {path.name for path in Path(workdir / "checkpoints").iterdir()} == {
        "evaluate_action",
        "evaluate_privacy",
    }
    share = own["action"].get("frames_with_boxes")
    assert share == (pytest.approx(95 / 96) if method == "blacken" else None)  # 96 videos
    assert f'Method "{method}"' in (workdir / "report" / "report.md").read_text()
