"""Detectors: known people and faces are found, noise is not; files of boxes; the command."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from input_pipeline import detect
from input_pipeline.boxes import boxes_file, load_boxes
from input_pipeline.detection import DETECTORS, BoxTable, OpenCV, make_detector
from input_pipeline.errors import DataError
from input_pipeline.face_network import FaceNetwork, decode_faces, load_network
from input_pipeline.specs import load_spec
from input_pipeline.video import decode_frames

VIDEOS = "moving_figures/tiny_videos"
HEADER = "id,frame,top,left,height,width\n"


@pytest.fixture(scope="module")
def opencv():
    cv2.setNumThreads(1)
    return OpenCV()


def picture(real_data, name):
    return cv2.imread(str(real_data / "samples" / "people" / name))[..., ::-1].copy()


def share_covered(boxes, region):
    """Of a region (top, left, height, width), the share that the boxes cover."""
    top, left, height, width = region
    covered = np.zeros((2000, 2000), bool)
    for box_top, box_left, box_height, box_width in boxes.tolist():
        covered[box_top : box_top + box_height, box_left : box_left + box_width] = True
    return covered[top : top + height, left : left + width].mean()


# Regions read off the pictures by eye.
ASTRONAUT = [(80, 190, 80, 75)]  # the face
TWO_PEOPLE = [(60, 260, 120, 120), (90, 810, 120, 120)]  # their faces
# The man in white, the woman beside him, the one with the cigarette, the face with glasses.
CROSSING = [(100, 195, 360, 115), (125, 310, 340, 85), (140, 560, 370, 110), (130, 55, 45, 45)]


@pytest.mark.parametrize(
    ("name", "short_side", "regions"),
    [
        ("astronaut.png", 512, ASTRONAUT),
        ("astronaut.png", 160, ASTRONAUT),  # reduced to the size of stored frames
        ("two_people.jpg", 661, TWO_PEOPLE),
        ("two_people.jpg", 160, TWO_PEOPLE),
        ("city.jpg", 564, CROSSING),
    ],
)
def test_opencv_finds_people_and_faces(opencv, real_data, name, short_side, regions):
    frame = picture(real_data, name)
    scale = short_side / min(frame.shape[:2])
    frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    boxes = opencv(frame, "", 0)
    assert boxes.dtype == np.int32
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= frame.shape[:2]).all()
    for region in regions:
        assert share_covered(boxes, [round(value * scale) for value in region]) > 0.8
    assert share_covered(boxes, (0, 0, *frame.shape[:2])) < 0.75  # and not everything


def test_profiles_are_found_from_both_sides(real_data):
    class Blind:
        def detectMultiScale(self, picture, **options):
            return ()

    detector = OpenCV()
    detector._frontal = Blind()
    frame, (first, _) = picture(real_data, "two_people.jpg"), TWO_PEOPLE
    top, left, height, width = first
    across = (top, frame.shape[1] - left - width, height, width)
    assert share_covered(detector(frame, "", 0), first) > 0.8
    assert share_covered(detector(np.ascontiguousarray(frame[:, ::-1]), "", 0), across) > 0.8


def test_opencv_finds_pedestrians(opencv, real_data):
    path = real_data / "samples" / "people" / "opencv_vtest_480x360.avi"
    frames = decode_frames(path, max_frames=401)[0][::100]
    found = [opencv(frame, "", 0) for frame in frames]
    assert all(len(boxes) for boxes in found)
    assert share_covered(found[0], (140, 155, 50, 20)) > 0.9  # the woman in black, in front


@pytest.mark.parametrize("size", [(8, 8), (20, 300), (120, 160), (240, 320)])
def test_opencv_finds_nothing_in_noise_or_grey(opencv, size):
    rng = np.random.default_rng(0)
    for frame in (rng.integers(0, 256, (*size, 3), dtype=np.uint8), np.full((*size, 3), 90, "u1")):
        boxes = opencv(frame, "", 0)
        assert boxes.shape == (0, 4)
        assert boxes.dtype == np.int32


def test_faces_are_decoded_from_the_four_outputs():
    heatmap = np.zeros((10, 20), np.float32)
    scales, offsets = np.zeros((2, 2, 10, 20), np.float32)
    # A face of 8 x 4 pixels (exp(log 2) * 4 and exp(0) * 4) about 4 * (3 + 0.25 + 0.5) = 15 and
    # 4 * (5 - 0.25 + 0.5) = 21: from 11 to 19 and from 19 to 23.
    heatmap[3, 5], scales[0, 3, 5], offsets[:, 3, 5] = 0.9, np.log(2), (0.25, -0.25)
    # A less sure one of 8 x 4 a pixel lower overlaps it by 7/9, one beside it not at all.
    heatmap[3, 6], scales[0, 3, 6], offsets[:, 3, 6] = 0.8, np.log(2), (0.5, -1.25)
    heatmap[3, 8], offsets[:, 3, 8] = 0.7, (0.25, 0.0)
    heatmap[0, 0] = 0.29  # below LEAST_SCORE
    found = decode_faces(heatmap, scales, offsets)
    assert sorted(found.round(4).tolist()) == [[11, 19, 8, 4], [13, 32, 4, 4]]
    assert decode_faces(heatmap * 0, scales, offsets).shape == (0, 4)


def network(shapes):
    """Stands for a model whose outputs have these channels, with one face in the middle."""

    def run(images):
        _, _, height, width = images.shape
        outputs = [np.zeros((1, n, height // 4, width // 4), np.float32) for n in shapes]
        outputs[0][0, 0, height // 8, width // 8] = 0.9
        outputs[1][:] = np.log(16)  # 64 pixels
        return outputs

    return run


# 160 x 240 is enlarged to 256 x 384, where the face's 64 pixels are 40; 512 x 768 is reduced to
# 320 x 480 (102); 256 x 352 keeps its size. The centre is half a cell off.
@pytest.mark.parametrize(
    ("height", "width", "face"), [(160, 240, 40), (256, 352, 64), (512, 768, 102.4)]
)
def test_faces_of_a_network_are_in_the_frames_own_pixels(monkeypatch, height, width, face):
    monkeypatch.setattr(
        "input_pipeline.face_network.load_network", lambda *_: network((1, 2, 2, 10))
    )
    detector = FaceNetwork(Path("model.onnx"))
    (box,) = detector(np.zeros((height, width, 3), np.uint8), "", 0).tolist()
    half_cell = 2 * face / 64
    corner = [side / 2 - face / 2 + half_cell for side in (height, width)]
    assert np.abs(np.array(box) - (*corner, face, face)).max() <= 1  # boxes are whole pixels


@pytest.mark.parametrize("listed", [False, True])
def test_a_model_of_a_fixed_size_is_opened_for_all_sizes(tmp_path, listed):
    onnx = pytest.importorskip("onnx", reason="the extra engines has it")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    # Adds 1 to images that it says are 1 x 3 x 32 x 32.
    sizes = [1, 3, 32, 32]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, sizes) for n in "xy")
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    # Old exporters list weights among the inputs too.
    inputs = [x, helper.make_tensor_value_info("one", TensorProto.FLOAT, [1])] if listed else [x]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "one"], ["y"])], "g", inputs, [y], [one]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "fixed.onnx")
    images = np.random.default_rng(0).uniform(size=(1, 3, 64, 96)).astype("f4")
    (output,) = load_network(tmp_path / "fixed.onnx")(images)
    np.testing.assert_array_equal(output, images + 1)


def test_without_people_only_faces_are_sought(opencv, real_data):
    frame = picture(real_data, "city.jpg")
    faces = OpenCV(people=False)(frame, "", 0)
    both = opencv(frame, "", 0)
    assert 0 < len(faces) < len(both)
    assert {tuple(box) for box in faces.tolist()} < {tuple(box) for box in both.tolist()}


def test_a_model_of_another_layout_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("input_pipeline.face_network.load_network", lambda *_: network((1, 4, 1)))
    with pytest.raises(DataError, match=r"model\.onnx is no face detector.*\(1, 4, 16, 24\)"):
        FaceNetwork(Path("model.onnx"))
    monkeypatch.undo()
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(DataError, match=r"text\.onnx is no ONNX model"):
        FaceNetwork(tmp_path / "text.onnx")


def test_detectors_need_their_files(tmp_path):
    with pytest.raises(DataError, match=f"no detector 'yolo'; known: {', '.join(DETECTORS)}"):
        make_detector("yolo")
    with pytest.raises(DataError, match="'onnx' needs --model=FILE"):
        make_detector("onnx")
    with pytest.raises(DataError, match="'opencv' needs neither"):
        make_detector("opencv", tmp_path)
    with pytest.raises(DataError, match=r"--boxes: there is no file .*missing\.csv"):
        make_detector("file", tmp_path / "missing.csv")


def test_boxes_come_from_a_table(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text(HEADER + "a,0,-2,3,10,10\na,2,1,1,2,2\na,2,5,5,2,2\nb,0,90,0,5,5\n")
    table = BoxTable(path)
    frame = np.zeros((20, 30, 3), np.uint8)
    assert table(frame, "a", 0).tolist() == [[0, 3, 8, 10]]
    assert table(frame, "a", 1).shape == (0, 4)
    assert table(frame, "a", 2).tolist() == [[1, 1, 2, 2], [5, 5, 2, 2]]
    assert table(frame, "b", 0).shape == (0, 4)  # outside the frame


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "id,frame,top,left,height\na,0,1,1,1\n",
            r"line 1: lacks the column width; needed are id,",
        ),
        (HEADER + "a,0,1,1,1,1\na,0,1,x,1,1\n", r"line 3: column 'left': 'x' is no whole number"),
        (HEADER + "a,0,1.5,1,1,1\n", r"line 2: column 'top': '1\.5' is no whole number"),
        (HEADER + "a,-1,1,1,1,1\n", r"line 2: column 'frame': -1 is less than 0"),
        (HEADER + "a,0,1,1,1,0\n", r"line 2: column 'width': 0 is less than 1"),
        (HEADER + "z,0,1,1,1,1\n", r"line 2: column 'id': the dataset has no record 'z'"),
        (HEADER + "a,3,1,1,1,1\n", r"line 2: column 'frame': the last one of 'a' is 2, not 3"),
        (HEADER + "a,0,1,1,1\n", r"line 2: 5 cells"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path, text, message):
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        BoxTable(path, {"a": 3})
    assert str(path) in str(caught.value)


@pytest.fixture
def data_dir(tiny_data_dir, tmp_path):
    """A copy of the videos, in which files may be left."""
    shutil.copytree(tiny_data_dir / VIDEOS, tmp_path / "data" / VIDEOS)
    return tmp_path / "data"


def table_of(data_dir, path):
    """A box for each even frame, another one for each record; returns {id: left of its boxes}."""
    counts = detect._num_frames(load_spec(VIDEOS, data_dir))
    lefts = {name: index % 20 for index, name in enumerate(counts)}
    rows = [f"{name},{f},4,{lefts[name]},9,7" for name in counts for f in range(0, counts[name], 2)]
    path.write_text(HEADER + "\n".join(rows))
    return lefts


def call(data_dir, *arguments):
    return detect.main([VIDEOS, f"--data_dir={data_dir}", "--detector=file", *arguments])


def test_the_command_keeps_the_boxes_of_all_records(data_dir, tmp_path, capsys):
    path = tmp_path / "boxes.csv"
    lefts = table_of(data_dir, path)
    assert call(data_dir, f"--boxes={path}", "--workers=2") == 0
    assert "480 boxes in 960 frames of 96 records; 50.0% of the frames" in capsys.readouterr().err
    spec = load_spec(VIDEOS, data_dir)
    boxes = load_boxes(spec, detector="file")
    for split in spec.split_sizes:
        for record in detect.RecordSource(spec, split):
            shape = detect.decode_jpeg(record.frames[0], record).shape
            assert boxes.of_frame(record, 4, shape).tolist() == [[4, lefts[record.id], 9, 7]]
            assert boxes.of_frame(record, 5, shape).tolist() == []
    assert [p.name for p in spec.path.glob("boxes-*")] == ["boxes-file.npz"]
    path.write_text(HEADER + f"{next(iter(lefts))},0,1,1,1,1")
    assert call(data_dir, f"--boxes={path}", "--workers=1") == 0
    assert "is there already; --overwrite" in capsys.readouterr().err
    assert call(data_dir, f"--boxes={path}", "--workers=1", "--overwrite") == 0
    assert "1 boxes in 960 frames" in capsys.readouterr().err


def test_frames_between_those_looked_at_get_the_boxes_of_both(data_dir, tmp_path, capsys):
    path = tmp_path / "boxes.csv"
    lefts = table_of(data_dir, path)
    assert call(data_dir, f"--boxes={path}", "--workers=1", "--every=4") == 0
    # Of ten frames 0, 4, 8 and the last one, which has no box, are looked at.
    assert "1440 boxes in 960 frames of 96 records; 90.0% of the frames" in capsys.readouterr().err
    spec = load_spec(VIDEOS, data_dir)
    record = detect.RecordSource(spec, "test")[0]
    boxes, box = load_boxes(spec, detector="file"), [4, lefts[record.id], 9, 7]
    shape = detect.decode_jpeg(record.frames[0], record).shape
    found = [boxes.of_frame(record, position, shape).tolist() for position in range(10)]
    assert found == [[box], *[[box, box]] * 3, [box], *[[box, box]] * 3, [box], []]


def test_a_stopped_command_continues(data_dir, tmp_path, monkeypatch, capsys):
    path = tmp_path / "boxes.csv"
    lefts = table_of(data_dir, path)
    spec = load_spec(VIDEOS, data_dir)
    seen, real = [], BoxTable.__call__

    def dying(self, frame, name, position):
        seen.append(name)
        if len(seen) == 500:
            raise KeyboardInterrupt
        return real(self, frame, name, position)

    monkeypatch.setattr(BoxTable, "__call__", dying)
    detect._detector.cache_clear()
    assert call(data_dir, f"--boxes={path}", "--workers=1") == 130
    assert "the same command continues" in capsys.readouterr().err
    assert not boxes_file(spec, "file").exists()
    assert call(data_dir, f"--boxes={path}", "--workers=1") == 0
    # Of 480 frames of training videos the first 32 records' 320 were kept, and the next job's 160.
    assert len(seen) == 500 + 960 - 480
    boxes = load_boxes(spec, detector="file")
    assert len(boxes.rows) == len(lefts)
    assert boxes.share_of_frames() == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--detector=onnx"], "'onnx' needs --model=FILE"),
        (["--detector=file"], "'file' needs --boxes=FILE"),
        (["--every=0"], "--every=0: has to be 1"),
        (["--detector=opencv", "--model=x"], "--model is not for the detector 'opencv'"),
        (["--detector=file", "--boxes=missing.csv"], "there is no file missing.csv"),
    ],
)
def test_the_command_says_what_is_missing(tiny_data_dir, capsys, arguments, message):
    assert detect.main([VIDEOS, f"--data_dir={tiny_data_dir}", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert detect.main(["video_folder/mine", f"--data_dir={tiny_data_dir}", *arguments]) == 2
