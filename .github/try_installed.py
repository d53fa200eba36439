"""Uses an installed anon_jax in an empty folder, as somebody would who has no checkout.

Prints the seconds of each step; ends with an error where one fails.
"""

import json
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import av
import numpy as np

SCRIPTS = Path(sys.executable).parent


def write_video(path: Path, frames: int = 24, height: int = 96, width: int = 128) -> None:
    """A bright square that crosses noise, [frames, height, width, 3]."""
    rng = np.random.default_rng(0)
    with av.open(path, "w") as video:
        stream = video.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            pixels = rng.integers(0, 80, (height, width, 3)).astype(np.uint8)
            pixels[32:64, 4 * number : 4 * number + 24] = 220
            video.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        video.mux(stream.encode(None))


def run(*command: str) -> None:
    """Runs a command, and prints how long it took."""
    start = time.monotonic()
    subprocess.run(command, check=True)
    print(f"{time.monotonic() - start:.1f} s: {' '.join(command)}", flush=True)


def main() -> None:
    """Imports, trains, reports, builds and anonymizes."""
    run(sys.executable, "-c", "import anon_jax, input_pipeline; anon_jax.load_anonymizer")
    for package in ("anon_jax", "input_pipeline"):
        assert (resources.files(package) / "py.typed").is_file(), package
    checkout = Path(str(resources.files("anon_jax"))).parent / "pyproject.toml"
    assert not checkout.exists(), f"anon_jax is imported from a checkout: {checkout.parent}"

    config = ["--config=smoke", "--config.data.data_dir=data"]
    run(str(SCRIPTS / "anon-jax"), *config, "--workdir=runs/smoke")
    methods = json.loads(Path("runs/smoke/results.json").read_text())["methods"]
    assert set(methods) == {"raw", "penalty"}, methods
    run(str(SCRIPTS / "anon-jax-report"), "runs/smoke", "--output=report")
    assert Path("report/report.html").stat().st_size > 1000

    write_video(Path("video.mp4"))
    anonymize = str(SCRIPTS / "anon-jax-anonymize")
    run(anonymize, "video.mp4", "--output=anonymized.mp4", "--checkpoint=small")
    with av.open("video.mp4") as raw, av.open("anonymized.mp4") as anonymized:
        pairs = zip(raw.decode(video=0), anonymized.decode(video=0), strict=True)
        changes = [
            np.abs(a.to_ndarray(format="rgb24") - 1.0 * b.to_ndarray(format="rgb24")).mean()
            for a, b in pairs
        ]
    assert len(changes) == 24, len(changes)
    assert min(changes) > 5, changes  # of 255; encoding alone changes less than that

    for script in ("build", "show", "detect", "convert", "export"):
        command = [str(SCRIPTS / f"anon-jax-{script}"), "--help"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    print("the installed package works")


if __name__ == "__main__":
    main()
