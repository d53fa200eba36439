"""The page without its layout: limits, jobs, errors in sentences, and files that do not stay."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from anonymize_samples import UNEVEN, facts, files_in, pictures, read_times, write_timed
from PIL import Image
from video_samples import data_folder, write_video

from anon_jax.anonymize import methods
from anon_jax.anonymize.frames import Anonymized
from anon_jax.app.desk import Desk, View
from anon_jax.app.films import Limits


class Gate:
    """A method that changes nothing, and stops before its third batch until it is let through."""

    def __init__(self, error: Exception | None = None):
        self.error = error
        self.reached, self.open = threading.Event(), threading.Event()
        self.method = methods.Method("gate", {}, self.start)
        self._batches = 0

    def start(self, height, width):
        self._batches = 0
        return self, 2

    def feed(self, frames):
        self._batches += 1
        if self._batches == 3:
            self.reached.set()
            assert self.open.wait(30)
            if self.error:
                raise self.error
        return [Anonymized(frame.copy()) for frame in frames]

    def finish(self):
        return ()

    def facts(self):
        return {}

    warnings = finish


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def desk(tmp_path, gate):
    (tmp_path / "root").mkdir()
    chosen = {"gate": gate.method, "downsample": methods.obfuscation("downsample", "opencv")}
    desk = Desk(tmp_path / "root", chosen, Limits(megabytes=1, seconds=10, pixels=320 * 240))
    yield desk
    gate.open.set()
    desk.close(10)


def dropped(tmp_path: Path, source: Path) -> Path:
    """The source as Gradio leaves an upload: in a folder of its own, to be taken."""
    folder = tmp_path / "root" / "0123"
    folder.mkdir(exist_ok=True)
    return Path(source.rename(folder / source.name))


def clip(tmp_path: Path, name: str = "in.mp4", **others) -> Path:
    return dropped(tmp_path, write_timed(tmp_path / name, pictures(6), UNEVEN, **others))


def last(views) -> View:
    return list(views)[-1]


def in_background(views) -> tuple[list[View], threading.Thread]:
    """The views so far of somebody who watches them, and whoever watches."""
    seen: list[View] = []
    thread = threading.Thread(target=lambda: seen.extend(iter(views)), daemon=True)
    thread.start()
    return seen, thread


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_video_comes_out_as_of_the_command(tmp_path, desk):
    tags = {"title": "Anna's birthday"}
    view = last(desk.receive("a", clip(tmp_path, sound=True, tags=tags)))
    assert "in.mp4: 64x48 pixels, 6 frames, 0.3 s" in view.status
    assert view.ready
    assert view.raw.name == "raw.mp4"
    view = last(desk.start("a", "downsample"))
    assert (view.busy, view.ready, view.result.name) == (False, True, "anonymized.mp4")
    assert "Done: 6 frames" in view.status
    assert "Look at all of it" in view.notes
    assert len(read_times(view.result)) == 6
    assert facts(view.result)["streams"] == ["video"]
    assert b"Anna" not in view.result.read_bytes()
    before = view.result
    view = last(desk.start("a", "downsample"))
    assert view.result != before  # under a known address a browser may show what was there
    assert [path.count("anonymized") for path in files_in(tmp_path / "root")] == [1, 0]
    desk.end("a")
    assert files_in(tmp_path / "root") == []
    assert "drop it again" in last(desk.start("a", "downsample")).status


def test_what_the_self_check_says_stands_beside_the_result(tmp_path, desk, gate):
    gate.open.set()
    list(desk.receive("a", clip(tmp_path)))
    view = last(desk.start("a", "gate"))
    assert "passed nearly unchanged" in view.notes
    assert view.notes.index("warning") < view.notes.index("Look at all of it")


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"megabytes": 0.001}, "MB are more than the 0.001 MB"),
        ({"seconds": 0.1}, "0.3 s are more than the 0.1 s"),
        ({"pixels": 64 * 48 - 1}, "64x48 pixels are more than the 3071"),
    ],
)
def test_limits_are_checked_before_any_work(tmp_path, limits, sentence):
    (tmp_path / "root").mkdir()
    desk = Desk(tmp_path / "root", {}, Limits(**limits))
    view = last(desk.receive("a", clip(tmp_path)))
    assert sentence in view.status
    assert "in.mp4" in view.status
    assert not view.ready
    assert files_in(tmp_path / "root") == []
    assert "drop it again" in last(desk.start("a", "any")).status


def test_frames_are_counted_whatever_the_file_says(tmp_path):
    (tmp_path / "root").mkdir()
    desk = Desk(tmp_path / "root", {}, Limits(seconds=0.2))
    # 90 frames a second, where 60 are allowed; and a file without times, shown at 25 a second.
    for name, sentence in (
        ("in.mp4", "13 frames are more than the 12"),
        ("in.h264", "0.5 s are more than the 0.2 s"),
    ):
        source = write_timed(tmp_path / name, pictures(13), range(0, 13 * 1000, 1000))
        assert sentence in last(desk.receive("a", dropped(tmp_path, source))).status


def test_bad_files_end_in_sentences_and_are_deleted(tmp_path, desk):
    (tmp_path / "<b>text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    for name, sentence in (
        ("<b>text.mp4", "no video that can be opened"),
        ("empty.mp4", "the file is empty"),
        ("image.png", "an image"),
    ):
        view = last(desk.receive("a", dropped(tmp_path, tmp_path / name)))
        assert sentence in view.status
        assert view.status.count("<b>") == 0  # names are shown, never read as HTML
        assert str(tmp_path) not in view.status
        assert (view.ready, view.busy, view.raw) == (False, False, None)
        assert files_in(tmp_path / "root") == []


def test_real_bad_files_end_in_sentences(tmp_path, desk):
    for source in sorted(data_folder("samples", "bad").iterdir()):
        (tmp_path / source.name).write_bytes(source.read_bytes())
        view = last(desk.receive("a", dropped(tmp_path, tmp_path / source.name)))
        assert source.name in view.status
        assert view.ready == (source.name == "made_bitflips.avi")
        assert ("error" in view.status) != view.ready


def test_a_copy_is_made_of_what_browsers_do_not_play(tmp_path, desk):
    source = write_video(tmp_path / "in.avi", pictures(5), codec="mjpeg", pix_fmt="yuvj420p")
    view = last(desk.receive("a", dropped(tmp_path, source)))
    assert view.ready
    assert view.raw.name == "copy.mp4"
    assert facts(view.raw)["codec"] == "h264"
    assert len(read_times(view.raw)) == 5
    assert len(read_times(last(desk.start("a", "downsample")).result)) == 5
    desk.end("a")
    assert files_in(tmp_path / "root") == []


def test_a_copy_can_be_left_out(tmp_path, desk, gate):
    list(desk.receive("a", clip(tmp_path)))
    other, watching = in_background(desk.start("a", "gate"))
    assert gate.reached.wait(30)
    source = write_video(tmp_path / "in.avi", pictures(5), codec="mjpeg", pix_fmt="yuvj420p")
    seen, copying = in_background(desk.receive("b", dropped(tmp_path, source)))
    until(lambda: seen)
    desk.cancel("b")
    copying.join(30)
    assert "cannot be shown here" in seen[-1].status
    assert (seen[-1].busy, seen[-1].ready, seen[-1].raw) == (False, True, None)
    gate.open.set()
    watching.join(30)
    assert other[-1].result
    assert last(desk.start("b", "downsample")).result


def test_a_cancelled_job_leaves_nothing(tmp_path, desk, gate):
    list(desk.receive("a", clip(tmp_path)))
    seen, watching = in_background(desk.start("a", "gate"))
    assert gate.reached.wait(30)
    until(lambda: any("of 6 frames" in view.status for view in list(seen)))
    assert not list(desk.start("a", "downsample"))  # one job of a page at a time
    desk.cancel("a")
    gate.open.set()
    watching.join(30)
    assert "frames/s" in "".join(view.status for view in seen)
    assert "Cancelled" in seen[-1].status
    assert (seen[-1].busy, seen[-1].ready, seen[-1].result) == (False, True, None)
    assert [path.split("/")[-1] for path in files_in(tmp_path / "root")] == ["raw.mp4"]
    assert last(desk.start("a", "downsample")).result


def test_an_error_in_the_middle_leaves_nothing(tmp_path, desk, gate):
    gate.error = ValueError(f"broken at {tmp_path}")
    gate.open.set()
    list(desk.receive("a", clip(tmp_path)))
    view = last(desk.start("a", "gate"))
    assert "in.mp4: ValueError: broken" in view.status
    assert (view.busy, view.ready, view.result) == (False, True, None)
    assert [path.split("/")[-1] for path in files_in(tmp_path / "root")] == ["raw.mp4"]


def test_others_wait_and_are_told_so(tmp_path, desk, gate):
    list(desk.receive("a", clip(tmp_path)))
    list(desk.receive("b", clip(tmp_path)))
    list(desk.receive("c", clip(tmp_path)))
    watching = [in_background(desk.start("a", "gate"))]
    assert gate.reached.wait(30)
    for key in ("b", "c"):
        watching.append(in_background(desk.start(key, "downsample")))
        until(lambda: watching[-1][0])
    assert "Waiting: one other job before" in watching[1][0][-1].status
    assert "Waiting: 2 other jobs before" in watching[2][0][-1].status
    desk.cancel("b")
    watching[1][1].join(30)
    assert "Cancelled" in watching[1][0][-1].status
    gate.open.set()
    for _, thread in watching:
        thread.join(30)
    assert watching[0][0][-1].result
    assert watching[2][0][-1].result


def test_a_closed_page_ends_its_job_and_its_files(tmp_path, desk, gate):
    list(desk.receive("a", clip(tmp_path)))
    seen, watching = in_background(desk.start("a", "gate"))
    assert gate.reached.wait(30)
    ending = threading.Thread(target=desk.end, args=("a",))
    ending.start()
    gate.open.set()
    ending.join(30)
    watching.join(30)
    assert files_in(tmp_path / "root") == []
    assert not any(view.result for view in seen)
