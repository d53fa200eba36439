"""The parts below the page: its queue, its folder, who may ask it, and its command."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from anonymize_samples import Identity, files_in, pictures
from video_samples import ROOT

from anon_jax.anonymize import engines, methods
from anon_jax.app import __main__ as command
from anon_jax.app import storage
from anon_jax.app.guard import Guard
from anon_jax.app.work import CANCELLED, DONE, Task, Worker


def test_a_closed_worker_takes_nothing():
    worker, begun, ends = Worker(), threading.Event(), threading.Event()

    def work(advance):
        begun.set()
        while not ends.is_set():
            advance(1)

    tasks = [Task(work, 1), Task(work, 1)]
    for task in tasks:
        worker.submit(task)
    assert begun.wait(10)
    assert worker.close(10)
    late = Task(lambda advance: ends.set(), 1)
    worker.submit(late)
    assert [task.state for task in (*tasks, late)] == [CANCELLED] * 3
    assert not ends.is_set()
    worker, task = Worker(), Task(lambda advance: advance(3) or "result", 3)
    worker.submit(task)
    assert task.wait(10)
    assert (task.state, task.result, task.frames) == (DONE, "result", 3)
    worker.close(10)


def interrupted(parent: Path) -> None:
    with storage.own_folder(parent) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (storage.new_session(folder) / "raw.mp4").write_text("x")
        assert storage.remove_leftovers(parent) == []  # its process is alive
        raise KeyboardInterrupt


def test_the_folder_is_gone_when_it_ends(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_dead_process_folder_is_removed_at_the_next_start(tmp_path):
    code = (
        "import sys, time, pathlib; from anon_jax.app import storage\n"
        "with storage.own_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (storage.new_session(folder) / 'raw.mp4').write_text('x')\n"
        "    print(folder, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    left = Path(process.stdout.readline().strip())
    with storage.own_folder(tmp_path):
        assert len(files_in(left)) == 2  # the lock and the video: it is alive
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert left.exists()
    (tmp_path / "precious").mkdir()
    (tmp_path / "anon_jax_app_link").symlink_to(tmp_path / "precious")
    with storage.own_folder(tmp_path):
        assert not left.exists()
    assert (tmp_path / "precious").exists()


def test_uploads_that_were_broken_off_are_deleted(tmp_path):
    session = storage.new_session(tmp_path)
    (session / "raw.mp4").write_text("x")
    (tmp_path / "lock").write_text("")
    (tmp_path / "tmp1").write_text("half")
    (tmp_path / "hash").mkdir()
    (tmp_path / "hash" / "film.mp4").write_text("x")
    (tmp_path / "tmp2").write_text("fresh")
    old = time.time() - storage.FORGOTTEN - 10
    for path in (session / "raw.mp4", session, tmp_path / "lock", tmp_path / "tmp1",
                 tmp_path / "hash" / "film.mp4", tmp_path / "hash"):  # fmt: skip
        os.utime(path, (old, old))
    storage.remove_forgotten(tmp_path)
    assert files_in(tmp_path) == sorted(["lock", f"{session.name}/raw.mp4", "tmp2"])
    assert not (tmp_path / "hash").exists()


def ask(**headers: str) -> tuple[int, dict[str, str]]:
    """(status, headers) of the answer to a request for a file."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"cache-control", b"public")]})  # fmt: skip

    async def send(message):
        sent.append(message)

    pairs = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    scope = {"type": "http", "path": "/gradio_api/file=/x/raw.mp4", "headers": pairs}
    asyncio.run(Guard(app)(scope, None, send))
    return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}


def test_only_this_machine_is_answered():
    status, headers = ask(host="127.0.0.1:7860")
    assert status == 200
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'self' ")
    assert "http" not in headers["content-security-policy"]
    assert (
        ask(host="localhost:1", origin="http://localhost:1", sec_fetch_site="same-origin")[0] == 200
    )
    for refused in (
        {},
        {"host": "example.org"},
        {"host": "127.0.0.1.example.org:7860"},
        {"host": "127.0.0.1:7860", "origin": "https://example.org"},
        {"host": "127.0.0.1:7860", "origin": "null"},
        {"host": "127.0.0.1:7860", "sec_fetch_site": "cross-site"},
    ):
        assert ask(**refused)[0] == 403


def test_the_command_says_what_is_missing_or_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    assert command.main([]) == 1
    assert 'pip install "anon_jax[app]"' in capsys.readouterr().err
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for arguments, sentence in (
        (["--max_mb=0"], "--max_mb is 0"),
        (["--max_seconds=nan"], "--max_seconds is nan"),
        (["--port=70000"], "--port is 70000"),
        ([f"--checkpoint={tmp_path / 'nothing'}"], "There is no folder"),
    ):
        assert command.main(arguments) == 2
        assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_are_offered_first(monkeypatch):
    monkeypatch.setattr(engines, "ENGINES", {"jax": Identity})
    chosen, labels = command._methods(["runs/mine"])
    first = next(iter(labels))
    assert list(chosen) == list(labels)
    assert chosen[first].name == "learned"
    assert "runs/mine" in labels[first]
    assert list(labels)[1:] == ["downsample", "blur", "blacken"]
    stream, size = chosen["downsample"].start(48, 64)
    raw = np.stack(pictures(size))
    assert all((a.frame != b).any() for a, b in zip(stream.feed(list(raw)), raw, strict=True))


def test_the_small_checkpoint_is_offered_last_where_there_is_no_other(monkeypatch):
    loaded, plain = [], methods.obfuscation("downsample", "opencv")
    monkeypatch.setattr(methods, "learned", lambda *_, **__: loaded.append(1) or plain)
    chosen, labels = command._methods([])
    assert list(chosen) == list(labels) == ["downsample", "blur", "blacken", "checkpoint small"]
    assert "To try, not for use" in labels["checkpoint small"]
    assert not loaded  # the page opens at once
    for _ in range(2):
        chosen["checkpoint small"].start(48, 64)
    assert loaded == [1]
    assert command._methods(["small"])[1]["checkpoint small"] == labels["checkpoint small"]
