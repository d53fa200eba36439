"""Damaged videos: the program runs, and finds what it looks for where it is there."""

import json
import subprocess
import sys
from random import Random

import numpy as np
import pytest
from anonymize_samples import pictures
from video_samples import ROOT, write_video

from benchmarks.video_damage import DAMAGES, damage
from benchmarks.video_likeness import BOUND, FAINT, decode, details, likeness
from input_pipeline.obfuscation import downsample

# Wrong commands, and what is to be said of them.
WRONG = {
    "methods._downsample = lambda frames: frames": "an output frame is like an input frame: ",
    "fuzz_videos.anonymize = lambda _: os.kill(os.getpid(), 11)": "exit code -11",
    "fuzz_videos.anonymize = lambda _: 1 / 0": "ZeroDivisionError: division by zero",
    "fuzz_videos.anonymize = lambda _: 3": "exit code 3",
    "fuzz_videos.anonymize = lambda _: 2": "no sentence",
    "fuzz_videos.anonymize = lambda _: 0": "files []",
    # The last one, for the limit stays.
    "fuzz_videos.anonymize = lambda _: time.sleep(60); sys.argv[-1] = '--limit=1'": "not over",
}
# In a process of its own: what forks must have no threads, as this one may have.
_WITH_EACH = """
import contextlib, io, json, os, sys, time
from anon_jax.anonymize import methods
from benchmarks import fuzz_videos
right, results = (fuzz_videos.anonymize, methods._downsample), []
for change in json.loads(sys.argv[1]):
    fuzz_videos.anonymize, methods._downsample = right
    exec(change)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = fuzz_videos.main(sys.argv[2:])
    results.append((code, said.getvalue()))
print(json.dumps(results))
"""


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "films"
    write_video(folder / "a.mp4", pictures(8, 96, 128))
    write_video(folder / "b.avi", pictures(8, 60, 80, seed=1), codec="mpeg4")
    (folder / "c.mp4").write_text("no video")
    return folder


def fuzz(films, changes, *arguments):
    """(exit code, what was printed) with each change of the command."""
    command = [sys.executable, "-c", _WITH_EACH, json.dumps(changes), str(films), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_damaged_videos_end_as_they_should(films):
    ((code, said),) = fuzz(films, ["pass"], "--runs=5")
    assert code == 0, said
    assert "c.mp4: refused" in said
    assert said.splitlines()[-1] == "problems: 0"
    assert sum(map(int, said.splitlines()[-3].split()[1:])) == 5  # the table's last row


def test_what_is_wrong_is_found(films):
    (films / "b.avi").unlink()
    (films / "c.mp4").unlink()
    results = fuzz(films, list(WRONG), "--runs=0", "--limit=30")
    for (code, said), sentence in zip(results, WRONG.values(), strict=True):
        assert "a.mp4: problem" in said, said
        assert sentence in said, said
        assert code == 1


def test_raw_frames_are_alike_and_anonymized_ones_are_not(tmp_path):
    frames = pictures(4, 96, 128)
    raw = details(frames, (96, 128))
    assert raw.shape == (4, 96 * 128)
    np.testing.assert_allclose(np.linalg.norm(raw, axis=1), 1, rtol=1e-5)  # float32
    passed = list(decode(write_video(tmp_path / "a.mp4", [*frames[2:], frames[0] // 2])))
    assert likeness(details(passed, (96, 128), least=0.0), raw).min() > BOUND
    # What is left of the 28 rows of downsampling.
    hidden = [downsample(frame, 4) for frame in frames]
    assert likeness(details(hidden, (96, 128), least=0.0), raw).max() < BOUND
    flat = [np.full((96, 128, 3), 90, np.uint8), np.zeros((96, 128, 3), np.uint8)]
    assert len(details(flat, (96, 128), least=0.0)) == 0
    assert FAINT > 0
    assert likeness(raw, details(flat, (96, 128))).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_what_its_seed_says(name):
    data, other = Random(0).randbytes(10_000), b"\xaa" * 5000
    results = [damage(name, data, other, Random(seed)) for seed in range(8)]
    assert [damage(name, data, other, Random(seed)) for seed in range(8)] == results
    assert sum(result != data for result in results) >= 4  # a block of one byte cannot be swapped
    assert damage(name, b"x", b"y", Random(0)) is not None  # the smallest file
    if name == "cut short":
        assert all(data.startswith(result) for result in results)
    if name == "bits flipped":
        assert all(len(result) == len(data) for result in results)
        changed = [bin(a ^ b).count("1") for a, b in zip(data, results[0], strict=True)]
        assert max(changed) <= 8
