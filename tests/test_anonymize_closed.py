"""The command fails closed: errors, signals, full disks and refusals leave no output behind."""

import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from anonymize_samples import (
    UNEVEN,
    Identity,
    files_in,
    pictures,
    read_times,
    run,
    write_timed,
)
from video_samples import ROOT

from anon_jax.anonymize import engines
from anon_jax.anonymize.__main__ import main
from input_pipeline.errors import DataError


class Failing(Identity):
    """An engine that breaks in the middle."""

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        if self.calls == 2:
            raise self.error
        return super().__call__(frames) // 2


@pytest.mark.parametrize("error", [ValueError("broken"), DataError("no memory"), MemoryError()])
def test_an_error_in_the_middle_leaves_nothing(tmp_path, monkeypatch, capsys, error):
    Failing.error = error
    monkeypatch.setattr(engines, "ENGINES", {"jax": Failing})
    source = write_timed(tmp_path / "in.mp4", pictures(60), range(0, 60 * 3600, 3600))
    code = main([str(source), f"--output={tmp_path / 'out' / 'a.mp4'}", "--checkpoint=x"])
    assert code == 2
    assert files_in(tmp_path / "out") == []
    assert str(error) in capsys.readouterr().err


def test_ctrl_c_leaves_nothing(tmp_path, monkeypatch):
    Failing.error = KeyboardInterrupt()
    monkeypatch.setattr(engines, "ENGINES", {"jax": Failing})
    source = write_timed(tmp_path / "in.mp4", pictures(60), range(0, 60 * 3600, 3600))
    assert main([str(source), f"--output={tmp_path / 'o' / 'a.mp4'}", "--checkpoint=x"]) == 130
    assert files_in(tmp_path / "o") == []


@pytest.mark.parametrize("bad", ["shape", "number", "type"])
def test_an_engine_that_returns_no_frames_ends_it(tmp_path, monkeypatch, bad):
    class Wrong(Identity):
        def __call__(self, frames):
            return {"shape": frames[:, 1:], "number": frames[1:], "type": frames / 255}[bad]

    monkeypatch.setattr(engines, "ENGINES", {"jax": Wrong})
    source = write_timed(tmp_path / "in.mp4", pictures(6), UNEVEN)
    assert main([str(source), f"--output={tmp_path / 'o' / 'a.mp4'}", "--checkpoint=x"]) == 2
    assert files_in(tmp_path / "o") == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_command_leaves_no_output(tmp_path, how):
    # Detection takes a second for these frames: the signal comes in the middle.
    source = write_timed(tmp_path / "in.mp4", pictures(100, 480, 640), range(0, 360000, 3600))
    (tmp_path / "o").mkdir()
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-m", "anon_jax.anonymize", str(source), "--method=blacken"]
    process = subprocess.Popen([*command, f"--output={tmp_path / 'o' / 'a.mp4'}"], cwd=ROOT,
                               env={**os.environ, "TMPDIR": str(tmp_path / "tmp")})  # fmt: skip
    deadline = time.monotonic() + 60
    while not files_in(tmp_path / "o"):
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before the signal"
        time.sleep(0.01)
    process.send_signal(how)
    code = process.wait(timeout=30)
    assert files_in(tmp_path / "tmp") == []
    if how == signal.SIGTERM:
        assert code == 143
        assert files_in(tmp_path / "o") == []
    else:  # nobody could clean up: what is left is hidden, and no video by its name
        assert all(n.startswith(".anonymizing-") and n.endswith(".partial")
                   for n in files_in(tmp_path / "o"))  # fmt: skip


def test_a_full_disk_leaves_nothing(tmp_path, capsys):
    source = write_timed(tmp_path / "in.mp4", pictures(200, 240, 320), range(0, 720000, 3600))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system refuses to let a file grow beyond it: the same error as that of a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        code = run(source, f"--output={tmp_path / 'o' / 'a.mp4'}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 2
    assert "a.mp4 could not be written: File too large" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()  # it was made for this output


def test_a_place_that_cannot_be_written(tmp_path, capsys):
    source = write_timed(tmp_path / "in.mp4", pictures(3), UNEVEN[:3])
    (tmp_path / "file").write_text("no folder")
    no_folder = f"could not be written: {tmp_path / 'file'} is no folder"
    assert run(source, f"--output={tmp_path / 'file' / 'a.mp4'}") == 2
    assert f"a.mp4 {no_folder}" in capsys.readouterr().err
    summary = f"--summary={tmp_path / 'file' / 's.json'}"
    assert run(source, f"--output={tmp_path / 'b.mp4'}", summary) == 2
    assert f"s.json {no_folder}" in capsys.readouterr().err
    if os.geteuid() == 0:
        pytest.skip("nothing is read-only for root")
    (tmp_path / "locked").mkdir(mode=0o500)
    assert run(source, f"--output={tmp_path / 'locked' / 'a.mp4'}") == 2
    assert "Permission denied" in capsys.readouterr().err


def test_outputs_are_replaced_only_when_asked(tmp_path, capsys):
    source = write_timed(tmp_path / "in.mp4", pictures(3), UNEVEN[:3])
    output = tmp_path / "out.mp4"
    output.write_bytes(b"precious")
    assert run(source, f"--output={output}") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert output.read_bytes() == b"precious"
    assert run(source, f"--output={output}", "--overwrite") == 0
    assert len(read_times(output)) == 3
    raw = source.read_bytes()
    assert run(source, f"--output={source}", "--overwrite") == 2
    assert source.read_bytes() == raw
