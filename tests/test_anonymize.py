"""The command end to end: what is kept, what never passes, and what is said of it."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest
from anonymize_samples import (
    UNEVEN,
    Identity,
    exported,
    facts,
    files_in,
    pictures,
    read_times,
    run,
    turn_clockwise,
    write_timed,
)
from PIL import Image
from video_samples import data_folder, write_video

from anon_jax.anonymize import engines, methods
from anon_jax.anonymize.__main__ import main
from input_pipeline.errors import DataError
from input_pipeline.video import decode_frames


@pytest.fixture
def identity(monkeypatch):
    monkeypatch.setattr(engines, "ENGINES", {"jax": Identity})
    return ["--checkpoint=anything"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_times_size_and_length_are_those_of_the_input(tmp_path, suffix):
    source = write_timed(tmp_path / "in.mp4", pictures(6), UNEVEN)
    output = tmp_path / f"out{suffix}"
    assert run(source, f"--output={output}") == 0
    # Matroska and WebM count in milliseconds.
    unit = Fraction(1, 90000) if suffix in (".mp4", ".mov") else Fraction(1, 1000)
    for time_out, time_in in zip(read_times(output), UNEVEN, strict=True):
        assert abs(time_out - Fraction(time_in, 90000)) <= unit / 2
    before, after = facts(source), facts(output)
    assert after["size"] == before["size"] == (64, 48)
    assert after["codec"] == ("vp9" if suffix == ".webm" else "h264")
    if suffix == ".mp4":
        assert after["seconds"] == pytest.approx(before["seconds"], abs=1e-4)


def test_a_learned_anonymizer_anonymizes_each_frame(tmp_path):
    source = write_timed(tmp_path / "in.mp4", pictures(21), range(0, 21 * 3600, 3600))
    output, summary = tmp_path / "out.mkv", tmp_path / "summary.json"
    code = main([str(source), f"--output={output}", f"--checkpoint={exported()}",
                 f"--summary={summary}"])  # fmt: skip
    assert code == 0
    frames, _ = decode_frames(output)
    raw, _ = decode_frames(source)
    engine = engines.make_engine("auto", exported())
    expected = engine(raw[:16])  # the shape that is compiled already
    # In grey, for the encoder halves the colour planes: 4 levels are its loss on this noise.
    distance = np.abs((frames[:16].astype(float) - expected).mean(axis=-1)).mean()
    assert distance < 4
    assert np.abs((frames.astype(float) - raw).mean(axis=-1)).mean() > 5 * distance
    (entry,) = json.loads(summary.read_text())["files"]
    assert (entry["status"], entry["frames"], entry["damaged"]) == ("done", 21, 0)
    assert (entry["method"], entry["engine"]) == ("learned", engine.name)
    assert entry["sha256"] == engine.sha256
    assert entry["seconds"] > 0


def test_odd_sizes_and_colours_are_kept(tmp_path):
    frames = pictures(3, 75, 101)
    source = write_video(tmp_path / "in.avi", frames, codec="mjpeg", pix_fmt="yuvj444p",
                         color_range=2, colorspace=5)  # fmt: skip
    output = tmp_path / "out.mp4"
    assert run(source, f"--output={output}") == 0
    found = facts(output)
    assert (found["size"], found["range"], found["matrix"]) == ((101, 75), 2, 5)
    source = write_video(tmp_path / "b.mp4", pictures(3), colorspace=1, color_range=1)
    assert run(source, f"--output={output}", "--overwrite") == 0
    assert (facts(output)["range"], facts(output)["matrix"]) == (1, 1)


def test_rotation_is_applied_once(tmp_path):
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, :32] = 255  # white at the left: after a clockwise turn, at the top
    source = turn_clockwise(write_timed(tmp_path / "in.mp4", [frame] * 2, [0, 3600]))
    output = tmp_path / "out.mp4"
    assert run(source, f"--output={output}") == 0
    assert facts(output)["size"] == (48, 64)
    shown, _ = decode_frames(output)
    assert shown[0].shape == (64, 48, 3)
    assert shown[0][:28].min() > 200
    assert shown[0][36:].max() < 55
    with av.open(str(output)) as container:
        assert next(container.decode(video=0)).rotation == 0


def test_metadata_chapters_and_sound_do_not_pass(tmp_path):
    tags = {"title": "Anna's birthday", "location": "+52.5200+013.4050/", "comment": "at home"}
    source = write_timed(tmp_path / "in.mkv", pictures(6), UNEVEN, tags=tags, sound=True)
    before = facts(source)
    assert before["streams"] == ["video", "audio"]
    assert before["chapters"]
    assert "Anna's birthday" in before["tags"].values()
    for output in (tmp_path / "out.mp4", tmp_path / "out.mkv"):
        assert run(source, f"--output={output}") == 0
        after = facts(output)
        assert (after["streams"], after["chapters"]) == (["video"], [])
        data = output.read_bytes()
        for text in ("Anna", "52.52", "at home", "home"):
            assert text.encode() not in data


def test_sound_is_kept_where_it_is_asked_for(tmp_path):
    times = range(0, 50 * 3600, 3600)
    source = write_timed(tmp_path / "in.mp4", pictures(50), times, sound=True)
    output = tmp_path / "out.mp4"
    assert run(source, f"--output={output}", "--keep-audio") == 0
    assert facts(output)["streams"] == ["video", "audio"]
    with av.open(str(source)) as a, av.open(str(output)) as b:
        heard = [
            np.concatenate([f.to_ndarray() for f in c.decode(audio=0)], axis=1) for c in (a, b)
        ]
    # AAC's frames of 1,024 samples fill up at the end, and begin with one of silence.
    assert abs(heard[0].shape[1] - heard[1].shape[1]) <= 3 * 1024
    assert heard[1].std() == pytest.approx(heard[0].std(), rel=0.05)
    silent = write_timed(tmp_path / "silent.mp4", pictures(3), UNEVEN[:3])
    assert run(silent, f"--output={tmp_path / 'b.mp4'}", "--keep-audio") == 0
    assert facts(tmp_path / "b.mp4")["streams"] == ["video"]


def test_damaged_frames_are_black_at_their_times_and_counted(tmp_path):
    white = [np.full((48, 64, 3), 255, np.uint8)] * 6
    source = write_timed(tmp_path / "in.mkv", white, [3600 * n for n in range(6)], damaged=(0, 3))
    output, summary = tmp_path / "out.mp4", tmp_path / "s.json"
    assert run(source, f"--output={output}", f"--summary={summary}") == 0
    frames, _ = decode_frames(output)
    levels = frames.mean(axis=(1, 2, 3))
    assert [round(float(level)) > 128 for level in levels] == [False, True, True, False, True, True]
    assert levels[[0, 3]].max() < 3
    assert read_times(output) == [Fraction(n, 25) for n in range(6)]
    (entry,) = json.loads(summary.read_text())["files"]
    assert (entry["frames"], entry["damaged"]) == (6, 2)
    assert "2 damaged frames" in " ".join(entry["warnings"])


def test_a_batch_goes_on_past_a_bad_file(tmp_path, capsys):
    films = tmp_path / "films"
    (films / "deep").mkdir(parents=True)
    write_timed(films / "a.mp4", pictures(3), UNEVEN[:3])
    write_timed(films / "deep" / "c.mkv", pictures(3), UNEVEN[:3])
    (films / "b.avi").write_text("no video")
    (films / "notes.txt").write_text("x")
    Image.fromarray(pictures(1)[0]).save(films / "deep" / "p.png")
    summary = tmp_path / "s.json"
    assert run(films, f"--output={tmp_path / 'o'}", f"--summary={summary}") == 2
    assert files_in(tmp_path / "o") == ["a.mp4", "deep/c.mkv", "deep/p.png"]
    account = json.loads(summary.read_text())
    assert account["failed"] == [str(films / "b.avi")]
    assert [e["status"] for e in account["files"]] == ["done", "failed", "done", "done"]
    said = capsys.readouterr().err
    assert "1 of 4 failed" in said
    assert "notes.txt" in said


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    source = write_timed(tmp_path / "in.mp4", pictures(3), UNEVEN[:3])
    (tmp_path / "bad.mp4").write_text("no video")
    before = files_in(tmp_path)
    assert run(source, f"--output={tmp_path / 'o' / 'a.mp4'}", "--dry-run") == 0
    assert run(source, tmp_path / "bad.mp4", f"--output={tmp_path / 'o'}", "--dry-run") == 2
    assert files_in(tmp_path) == before
    assert not (tmp_path / "o").exists()
    assert "64x48, 3 frames" in capsys.readouterr().err


def test_a_preview_shows_both_and_is_refused_for_many(tmp_path, capsys):
    (tmp_path / "f").mkdir()
    source = write_timed(tmp_path / "f" / "in.mp4", pictures(3), UNEVEN[:3])
    assert run(source.parent, f"--output={tmp_path / 'o'}", "--preview") == 2
    assert "--force" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
    assert run(source.parent, f"--output={tmp_path / 'o'}", "--preview", "--force") == 0
    both, _ = decode_frames(tmp_path / "o" / "in.mp4")
    raw, _ = decode_frames(source)
    assert both.shape == (3, 48, 128, 3)
    left, right = (
        np.abs((half.astype(float) - raw).mean(axis=-1)).mean()
        for half in (both[:, :, :64], both[:, :, 64:])
    )
    assert left < 6  # grey levels that the encoder loses
    assert right > 2 * left  # every other row is gone


def test_the_self_check_warns_of_an_anonymizer_that_does_nothing(tmp_path, identity, capsys):
    source = write_timed(tmp_path / "in.mp4", pictures(6, 240, 320), UNEVEN)
    summary = tmp_path / "s.json"
    arguments = [str(source), f"--output={tmp_path / 'a.mp4'}", f"--summary={summary}"]
    assert main([*arguments, *identity]) == 0
    assert "100% of the picture's details passed nearly unchanged" in capsys.readouterr().err
    (entry,) = json.loads(summary.read_text())["files"]
    assert entry["nearly_unchanged"]["share"] == 1.0
    assert entry["nearly_unchanged"]["region"] == [0, 0, 240, 320]


def test_images_lose_their_metadata_and_keep_their_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a clockwise turn
    exif[0x010E] = "Anna at home"
    exif.get_ifd(0x8825)[1] = "N"
    source = tmp_path / "in.jpg"
    Image.fromarray(pictures(1)[0]).save(source, exif=exif)
    for suffix in (".jpg", ".png", ".webp"):
        output = tmp_path / f"out{suffix}"
        assert run(source, f"--output={output}") == 0
        with Image.open(output) as image:
            assert image.size == (48, 64)
            assert not image.getexif()
            assert not {"exif", "icc_profile", "comment", "xmp"} & set(image.info)
        assert b"Anna" not in output.read_bytes()


@pytest.mark.parametrize("kind", ["bad", "odd"])
def test_real_samples_end_in_a_video_or_a_sentence(tmp_path, capsys, kind):
    for source in sorted(data_folder("samples", kind).iterdir()):
        output = tmp_path / f"{source.stem}.mp4"
        code = run(source, f"--output={output}", "--keep-audio")
        said = capsys.readouterr().err
        assert "Traceback" not in said
        unreadable = kind == "bad" and source.name != "made_bitflips.avi"
        if unreadable or source.suffix == ".wav":
            assert code == 2, source
            assert "error: " in said
            assert source.name in said
            assert files_in(tmp_path) == []
            continue
        assert code == 0, (source, said)
        assert files_in(tmp_path) == [output.name]
        raw, info = decode_frames(source)
        assert len(read_times(output)) == len(raw)
        assert facts(output)["size"] == (info.source_width, info.source_height)
        assert ("damaged" in said) == (info.num_damaged > 0)
        output.unlink()


def test_blurred_and_blackened_people_of_a_real_video(tmp_path):
    source = data_folder("samples", "people") / "two_people.jpg"
    for method in ("blur", "blacken"):
        output = tmp_path / f"{method}.png"
        assert run(source, f"--output={output}", method=method) == 0
        with Image.open(source) as raw, Image.open(output) as hidden:
            changed = (np.asarray(raw.convert("RGB")) != np.asarray(hidden)).any(axis=-1)
        assert 0.02 < changed.mean() < 1.0  # faces at least, and not the whole picture


def test_learned_and_plain_methods_cannot_be_mixed_up(tmp_path, capsys):
    source = write_timed(tmp_path / "in.mp4", pictures(3), UNEVEN[:3])
    target = f"--output={tmp_path / 'a.mp4'}"
    for arguments, sentence in (
        ([], "say how to anonymize"),
        (["--method=blur", f"--checkpoint={exported()}"], "say how to anonymize"),
        (["--method=blur", "--smoothing=0.5"], "mix raw frames in"),
        (["--method=blacken", "--resolution=20"], "keeps the background"),
        (["--method=downsample", "--smoothing=1"], "from 0 to below 1"),
        (["--method=downsample", "--resolution=0"], "above 0"),
        (["--method=blur", "--detector=yolo"], "known: opencv"),
        ([f"--checkpoint={tmp_path / 'nothing'}"], "There is no folder"),
    ):
        assert main([str(source), target, *arguments]) == 2
        assert sentence in capsys.readouterr().err
    assert files_in(tmp_path) == ["in.mp4"]
    with pytest.raises(DataError, match="known: auto, openvino"):
        engines.make_engine("tpu", exported())
    with pytest.raises(DataError, match="known: blur, blacken, downsample"):
        methods.obfuscation("pixelate", "opencv")
