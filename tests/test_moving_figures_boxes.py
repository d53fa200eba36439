"""Boxes of the embedded dataset: all that is painted lies in them, and they are tight."""

import dataclasses

import cv2
import numpy as np
import pytest

from input_pipeline import detect
from input_pipeline.boxes import load_boxes
from input_pipeline.datasets.moving_figures import boxes as figure_boxes
from input_pipeline.datasets.moving_figures import clips, figures, poses, subjects
from input_pipeline.datasets.moving_figures.config import MovingFiguresConfig
from input_pipeline.datasets.moving_figures.moving_figures_dataset_builder import MovingFigures
from input_pipeline.errors import DataError
from input_pipeline.obfuscation import blacken
from input_pipeline.records import RecordSource
from input_pipeline.specs import load_spec

NAME = "moving_figures/tiny_videos"
CLIPS = {"train": 48, "validation": 24, "test": 24}
PEOPLE = {"train": 24, "validation": 12, "test": 12}


def config(**fields) -> MovingFiguresConfig:
    """What moving_figures/tiny_videos of conftest.py was made from, or another one."""
    tiny = {"name": "tiny_videos", "frames": 10, "clips": CLIPS, "subjects": PEOPLE}
    return MovingFiguresConfig(description="For tests.", **(tiny | fields))


def people_of(plan: clips.Plan, resolution: int) -> list[figures.Person]:
    return clips.place_people(plan.subject, plan.joints, plan.scene, resolution)


def inside(boxes: np.ndarray, resolution: int) -> np.ndarray:
    """[height, width]: which pixels lie in one of the boxes."""
    white = np.full((resolution, resolution, 3), 255, np.uint8)
    return (blacken(white, boxes) == 0).all(-1)


def test_frames_differ_from_an_empty_scene_in_the_boxes_only():
    drawn, companions = config(), 0
    for index in range(24):  # every person of the split
        plan = clips.plan_clip(drawn, "train", index)
        companions += plan.subject.companion is not None
        scene = dataclasses.replace(plan.scene, noise=0.0)
        away = dataclasses.replace(scene, x=-9.0)
        alone = dataclasses.replace(plan.subject, companion=None)
        people, nobody = (
            clips.render_clip(who, plan.joints, where, 32, np.random.default_rng(0))
            for who, where in ((plan.subject, scene), (alone, away))
        )
        found = figure_boxes.people_boxes(people_of(plan, 32), 32)
        for position, boxes in enumerate(found):
            hidden = inside(boxes, 32)
            changed = (people[position] != nobody[position]).any(-1)
            assert not (changed & ~hidden).any()
            assert changed.sum() > 100  # the people cover a tenth of the 1,024 pixels at least
    assert companions == 5  # a fifth of 24 people, rounded


@pytest.mark.parametrize("resolution", [32, 128])
@pytest.mark.parametrize("domain", ["a", "b"])
def test_boxes_of_people_are_tight(domain, resolution):
    drawn = config(domain=domain, frames=4)
    for index in range(24):
        for person in people_of(clips.plan_clip(drawn, "train", index), resolution):
            pixels = np.full((4, resolution, resolution, 3), (1.0, 0.0, 1.0), np.float32)
            backdrop = pixels.copy()  # nobody wears this colour
            figures.paint_person(pixels, person)
            changed = (pixels != backdrop).any(-1)
            found = figure_boxes.people_boxes([person], resolution)
            for painted, (body, face) in zip(changed, found, strict=True):
                rows, columns = (np.flatnonzero(painted.any(axis)) for axis in (1, 0))
                top, left, height, width = body
                edges = [rows[0] - top, columns[0] - left]
                edges += [top + height - 1 - rows[-1], left + width - 1 - columns[-1]]
                # A pixel that only the tip of a round end touches stays as it is.
                assert 0 <= min(edges) <= max(edges) <= 1
                assert (face[:2] >= body[:2]).all()
                assert (face[:2] + face[2:] <= body[:2] + body[2:]).all()
                assert (face[2:] < 0.4 * resolution).all()  # a head is 1/4 of a body


@pytest.mark.parametrize(
    ("trait", "bottom"), [("glasses", 34), ("beard", 35), ("hat", 34), ("long_hair", 34)]
)
def test_face_of_somebody_who_stands_upright(trait, bottom):
    traits = {trait: True}
    looks = subjects.draw_subject(np.random.default_rng(3), traits).looks
    joints = {
        # 100 pixels, feet at (.5, .96), 84 pixels per body height, y down
        name: np.array([50.0, 96.0]) + 84 * points * (1, -1)
        for name, points in poses.stand(2, looks.shoulder).items()
    }
    found = figure_boxes.people_boxes([figures.Person(joints, looks, 84.0)], 100)
    assert len(found) == 2
    # The legs are .19 (cos 6 deg + cos 2 deg) = .3788 long and the ankle .04 above the ground, the
    # head is .445 above the hips: y = 96 - 84 * .8638 = 23.44. The head's circle has its centre .02
    # above that and the radius .125: rows from 23.44 - .145 * 84 = 11.26, columns 50 -+ 10.5. The
    # chin is .123 below: row 33.77; a beard reaches .137: row 34.94.
    assert found[0][1].tolist() == [11, 39, bottom - 11, 61 - 39]
    top = 96 - 84 * (0.8638 + 0.06 + 0.06 + 0.085) if trait == "hat" else 11.26
    assert found[0][0][0] == int(top)


def test_boxes_are_cut_at_the_frame_and_left_out_outside():
    plan = clips.plan_clip(config(), "train", 0)
    alone = dataclasses.replace(plan.subject, companion=None)
    for x, expected in ((0.0, 2), (-2.0, 0)):
        scene = dataclasses.replace(plan.scene, x=x, sway=np.zeros((10, 2)))
        people = clips.place_people(alone, plan.joints, scene, 32)
        for boxes in figure_boxes.people_boxes(people, 32):
            assert len(boxes) == expected
            assert (boxes[:, 1] == 0).all()


@pytest.fixture
def tiny(monkeypatch):
    """The command knows the tests' dataset, made from the given config."""

    def known(**fields):
        monkeypatch.setattr(MovingFigures, "BUILDER_CONFIGS", [config(**fields)])

    return known


def test_both_commands_give_each_stored_frame_its_boxes(tiny, tiny_data_dir, tmp_path):
    tiny()
    table, spec = tmp_path / "boxes.csv", load_spec(NAME, tiny_data_dir)
    options = [NAME, f"--data_dir={tiny_data_dir}"]
    assert figure_boxes.main([*options, f"--output={table}"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["boxes.csv"]
    try:
        command = [*options, "--detector=file", f"--boxes={table}", "--workers=1"]
        assert detect.main(command) == 0
        boxes = load_boxes(spec, detector="file")
    finally:
        (spec.path / "boxes-file.npz").unlink(missing_ok=True)
    assert boxes.share_of_frames() == 1
    column = spec.attributes.index("second_person")
    differences = []
    for record in RecordSource(spec, "test"):
        turn, number = int(record.id[-3:]), int(record.group[-5:])
        plan = clips.plan_clip(config(), "test", 12 * turn + number)
        away = dataclasses.replace(plan.scene, x=-9.0, noise=0.0)
        alone = dataclasses.replace(plan.subject, companion=None)
        empty = clips.render_clip(alone, plan.joints, away, 32, np.random.default_rng(0))
        for position, data in enumerate(record.frames):
            frame = cv2.imdecode(np.frombuffer(data, np.uint8), 1)[..., ::-1]
            found = boxes.of_frame(record, position, frame.shape)
            assert len(found) == 2 * (1 + record.attributes[column])
            difference = np.abs(frame.astype(float) - empty[position]).mean(-1)
            hidden = inside(found, 32)
            differences.append([difference[~hidden].mean(), difference[hidden].mean()])
    outside, within = np.mean(differences, axis=0)
    # Outside are noise, whose standard deviation is 1.3 to 5.1 of 255 levels, and JPEG's errors.
    assert outside < 5 < 30 < within


def test_other_records_are_refused(tiny, tiny_data_dir, tmp_path, capsys):
    table = tmp_path / "boxes.csv"
    command = [NAME, f"--data_dir={tiny_data_dir}", f"--output={table}"]
    assert figure_boxes.main(command) == 2
    assert "known of: moving_figures/videos, moving_figures/images" in capsys.readouterr().err
    for fields, count in (({"seed": 1}, 48), ({"clips": {**CLIPS, "train": 50}}, 2)):
        tiny(**fields)
        assert figure_boxes.main(command) == 2
        assert f"{count} records of the split 'train' in" in capsys.readouterr().err
    tiny()
    assert figure_boxes.main([NAME, f"--data_dir={tmp_path}", f"--output={table}"]) == 2
    assert f"python -m input_pipeline.build {NAME} --data_dir=" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="48 records of the split 'train'"):
        figure_boxes.write_boxes(config(seed=1), load_spec(NAME, tiny_data_dir), table)
