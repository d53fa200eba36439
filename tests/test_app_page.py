"""The page as it is served: to this machine alone, asking no other, and gone with its process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import chromium
import pytest
from anonymize_samples import files_in, pictures, read_times, write_timed
from video_samples import ROOT

from anon_jax.app.__main__ import main

pytest.importorskip("gradio")

# Notes every address that the process asks for or listens at, then is the command.
_WATCHED = """
import json, sys
out = open(sys.argv[1], "a", buffering=1)
def note(event, arguments):
    if event in ("socket.connect", "socket.bind"):
        out.write(json.dumps(arguments[1], default=str) + "\\n")
    elif event == "socket.getaddrinfo":
        out.write(json.dumps(arguments[:2], default=str) + "\\n")
sys.addaudithook(note)
from anon_jax.app.__main__ import main
sys.exit(main(sys.argv[2:]))
"""
_STATUS = "document.querySelector('#status').innerText"


class Served:
    """The command in a process of its own, at a free port."""

    def __init__(self, folder: Path, *arguments: str):
        self.files, self.watched = folder / "tmp", folder / "addresses"
        self.files.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WATCHED, str(self.watched), f"--port={self.port}", *arguments],
            cwd=ROOT, env={**os.environ, "TMPDIR": str(self.files), "JAX_PLATFORMS": "cpu"},
            stderr=subprocess.PIPE, text=True)  # fmt: skip
        line = self.process.stderr.readline()
        assert self.address in line, line + self.process.stderr.read()

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        code = self.process.wait(timeout=60)
        self.process.stderr.close()
        return code

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()

    def answer(self, data: bytes | None = None, **headers: str) -> tuple[int, str]:
        """(status, text) of the page, or of an upload of `data`."""
        path = "/" if data is None else "/gradio_api/upload"
        request = urllib.request.Request(self.address + path, data, headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def upload(self, data: bytes) -> int:
        body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
        body += data + b"\r\n--x--\r\n"
        return self.answer(body, **{"Content-Type": "multipart/form-data; boundary=x"})[0]

    def videos(self) -> list[str]:
        """The names of all videos that it keeps."""
        return [name for name in files_in(self.files) if Path(name).suffix]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """One server for all tests; in the end it is terminated, and nothing of it may be left."""
    served = Served(tmp_path_factory.mktemp("served"), "--max_mb=1", "--max_seconds=5")
    try:
        yield served
        served.upload(b"of nobody")
        assert len(served.videos()) == 1
        assert served.end(signal.SIGTERM) == 143
        assert list(served.files.iterdir()) == []
        lines = [json.loads(line) for line in served.watched.read_text().splitlines()]
        addresses = {line[0] for line in lines if isinstance(line, list)}
        assert "127.0.0.1" in addresses
        assert addresses <= {"127.0.0.1", "localhost"}
    finally:
        served.kill()


def test_only_this_machine_is_served(served):
    status, page = served.answer()
    assert status == 200
    assert "No method is a guarantee" in page
    assert served.answer(Host="example.org")[0] == 403
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect((_own_address(), served.port))


def test_a_file_that_is_too_large_is_not_kept(served):
    before = served.videos()
    assert served.upload(b"x" * (2**20 + 1)) == 413
    assert served.videos() == before
    assert not [name for name in files_in(served.files) if "/tmp" in name]


def _own_address() -> str:
    """This machine's address towards others; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # of RFC 5737, which nobody has
        except OSError:
            pytest.skip("this machine has no network")
        return probe.getsockname()[0]


def test_a_taken_port_is_named(served, capsys):
    assert main([f"--port={served.port}"]) == 2
    assert f"port {served.port} cannot be used (Address already in use" in capsys.readouterr().err


@pytest.mark.skipif(chromium.COMMAND is None, reason="there is no Chromium")
def test_in_a_browser(served, tmp_path):
    source = write_timed(tmp_path / "film.mp4", pictures(30), range(0, 30 * 3600, 3600))
    (tmp_path / "text.mp4").write_text("no video")
    with chromium.Chromium(tmp_path / "profile") as page:
        page.open(served.address)
        page.wait_for("document.querySelector('#drop input[type=file]')", 60)
        page.wait_for("document.querySelector('#status')")
        # The last thing that it asks for before it is ready.
        page.wait_until(lambda: any("/heartbeat/" in url for url in page.requests))
        page.choose_file("#drop input[type=file]", tmp_path / "text.mp4")
        page.wait_for(f"{_STATUS}.includes('text.mp4: no video')")
        page.choose_file("#drop input[type=file]", source)
        page.wait_for("document.querySelector('#raw video')?.videoWidth === 64")
        page.wait_for("!document.querySelector('#start').disabled")
        page.run("document.querySelector('#start').click()")
        page.wait_for("document.querySelector('#result video')?.videoWidth === 64")
        page.wait_for(f"{_STATUS}.includes('Done: 30 frames')")
        assert "no sound, no metadata" in page.text()
        assert sorted(name.split("/")[-1] for name in served.videos()) == [
            "anonymized.mp4", "raw.mp4"]  # fmt: skip
        (output,) = served.files.rglob("anonymized.mp4")
        assert len(read_times(output)) == 30
        page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        page.run("document.querySelector('#download').click()")
        kept = tmp_path / "anonymized.mp4"
        whole = output.read_bytes()
        page.wait_until(lambda: kept.exists() and kept.read_bytes() == whole)
        hosts = {url.split("/")[2] for url in page.requests if not url.startswith("data:")}
        assert hosts <= {f"127.0.0.1:{served.port}", ""}
        assert not any("policy" in line.lower() for line in page.said)
    deadline = time.monotonic() + 30
    while served.videos():
        assert time.monotonic() < deadline, "the page is closed, its files are there"
        time.sleep(0.1)
