"""Anonymizes real videos that were damaged at random, and looks at how each run ends.

    python -m benchmarks.fuzz_videos FOLDER... --runs=1000 [--seed=0] [--method=downsample]

Each run takes a video of the folders, damages it, and gives it to the anonymize command in a
process of its own (forked from this one, which has imported the libraries: Linux). It has to end
within --limit seconds and with one of the command's exit codes, without a traceback. Where there is
an output, it has to decode, and none of its frames may have the details of an input frame (see
benchmarks/video_likeness.py; for downsample, which changes all of the picture). Where there is
none, no file may be left. Run N of --seed=S is run 0 of --seed=S+N. Exit code 1 says that a run
or a video as it is was not as it should be.
"""

import argparse
import collections
import dataclasses
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

from anon_jax.anonymize.__main__ import main as anonymize
from anon_jax.anonymize.methods import METHODS
from benchmarks.fuzz_processes import forked
from benchmarks.fuzz_sources import Source, read_sources
from benchmarks.machine import describe
from benchmarks.video_damage import DAMAGES, damage
from benchmarks.video_likeness import BOUND, decode, details, likeness
from input_pipeline.errors import DataError
from input_pipeline.video import decode_frames

ENDS = ("whole", "black frames", "refused", "problem")
_DONE, _REFUSED = 0, 2  # exit codes of the command
_TOLD = 100  # runs between two lines of progress
# An error that nobody foresaw: the command names its type.
_UNFORESEEN = re.compile(r"Traceback|: \w*(?:Error|Exception): ")


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes:
      kind: one of ENDS.
      about: what was wrong.
      likeness: the highest one of an output frame to an input frame.
      seconds: of the command.
    """

    kind: str
    about: str = ""
    likeness: float = 0.0
    seconds: float = 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a line for each problem and a table; returns the exit code."""
    given = _arguments(argv)
    sources = read_sources(given.folders)
    print(f"{describe()}\n{len(sources)} videos, as they are:", flush=True)
    with tempfile.TemporaryDirectory(prefix="fuzz_videos_") as folder:
        room = Path(folder)
        sources, wrong = _readable(sources, room, given)
        counts: collections.Counter[tuple[str, str]] = collections.Counter()
        problems, highest, slowest = [], 0.0, 0.0
        for seed in range(given.seed, given.seed + given.runs):
            way, ending = _run(seed, sources, room, given)
            counts[way, ending.kind] += 1
            highest, slowest = max(highest, ending.likeness), max(slowest, ending.seconds)
            if ending.kind == "problem":
                problems.append(seed)
                print(f"seed {seed}, {way}: {ending.about}", flush=True)
            if (seed + 1 - given.seed) % _TOLD == 0:
                print(f"{seed + 1 - given.seed} runs, {len(problems)} problems", flush=True)
    _print_table(counts)
    print(f"likeness up to {highest:.2f} (bound {BOUND}), slowest run {slowest:.1f} s")
    print(f"problems: {len(problems)}" + (f", seeds {problems}" if problems else ""))
    return 1 if wrong or problems else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, help="searched for videos, at any depth")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first run")
    parser.add_argument("--method", choices=METHODS, default="downsample")
    parser.add_argument("--limit", type=float, default=30.0, help="seconds for a run")
    return parser.parse_args(argv)


def _readable(
    sources: Sequence[Source], room: Path, given: argparse.Namespace
) -> tuple[list[Source], bool]:
    """(those that can be anonymized as they are, whether one has a problem); prints how it went."""
    anonymized, raw, readable, wrong = 0.0, 1.0, [], False
    for source in sources:
        ending = _anonymize(source.data, source.suffix, Random(0), room, given)
        anonymized, raw = max(anonymized, ending.likeness), min(raw, source.likeness)
        readable += [] if ending.kind == "refused" else [source]
        wrong |= ending.kind == "problem"
        print(f"  {source.name}: {ending.kind} {ending.about}", flush=True)
    print(
        f"likeness: anonymized up to {anonymized:.2f}, raw and encoded from {raw:.2f}", flush=True
    )
    if not readable:
        raise DataError("none of these videos can be anonymized as it is")
    return readable, wrong


def _run(
    seed: int, sources: Sequence[Source], room: Path, given: argparse.Namespace
) -> tuple[str, Ending]:
    draw = Random(seed)
    source, other = draw.choice(sources), draw.choice(sources)
    way = draw.choice(list(DAMAGES))
    damaged = damage(way, source.data, other.data, draw)
    ending = _anonymize(damaged, source.suffix, draw, room, given)
    return way, dataclasses.replace(ending, about=f"{source.name}: {ending.about}")


def _anonymize(
    data: bytes, suffix: str, draw: Random, room: Path, given: argparse.Namespace
) -> Ending:
    """One run of the command, in empty folders."""
    with tempfile.TemporaryDirectory(dir=room) as name:
        folder = Path(name)
        source, output, summary = folder / f"in{suffix}", folder / "out", folder / "summary.json"
        (folder / "tmp").mkdir()
        source.write_bytes(data)
        command = [str(source), f"--output={output / 'out.mp4'}", f"--method={given.method}"]
        command += [f"--summary={summary}", *draw.choice(([], ["--keep-audio"]))]
        ended = forked(lambda: anonymize(command), folder / "tmp", given.limit)
        left = [path.name for part in (output, folder / "tmp") for path in part.rglob("*")]
        left += ["the folder"] if output.exists() and not left else []
        ending = Ending("problem", seconds=ended.seconds)
        if ended.code is None:
            about = f"not over after {given.limit:g} s"
        elif ended.code not in (_DONE, _REFUSED):
            about = f"exit code {ended.code}: {ended.said}"
        elif _UNFORESEEN.search(ended.said):
            about = ended.said
        elif ended.code == _REFUSED:
            about = f"left behind: {left}" if left else ""
            about = about or ("" if "error: " in ended.said else f"no sentence: {ended.said}")
            return dataclasses.replace(ending, kind="problem" if about else "refused", about=about)
        elif left != ["out.mp4"]:
            about = f"files {left}"
        else:
            return _looked_at(source, output / "out.mp4", summary, ending, given)
        return dataclasses.replace(ending, about=about)


def _looked_at(
    source: Path, output: Path, summary: Path, ending: Ending, given: argparse.Namespace
) -> Ending:
    """What is to be said of an output, found out in a process that may be killed, too."""
    result = output.with_name("likeness.json")

    def look() -> int:
        frames, info = decode_frames(output)
        highest = 0.0
        if given.method == "downsample":
            size = frames.shape[1:3]
            found = likeness(details(frames, size, least=0.0), details(decode(source), size))
            highest = float(found.max(initial=0.0))
        result.write_text(json.dumps([len(frames), info.num_damaged, highest]))
        return 0

    ended = forked(look, output.parent, 4 * given.limit)
    if ended.code != 0:
        return dataclasses.replace(ending, about=f"its output: {ended.code} {ended.said}")
    count, damaged, highest = json.loads(result.read_text())
    (entry,) = json.loads(summary.read_text())["files"]
    about = ""
    if damaged or count != entry["frames"]:
        about = f"{count} of {entry['frames']} frames decode, {damaged} damaged"
    elif highest > BOUND:
        about = f"an output frame is like an input frame: {highest:.2f}; {entry['warnings']}"
    kind = "problem" if about else "black frames" if entry["damaged"] else "whole"
    return dataclasses.replace(ending, kind=kind, about=about, likeness=highest)


def _print_table(counts: collections.Counter[tuple[str, str]]) -> None:
    print(f"{'damage':24}" + "".join(f"{end:>14}" for end in ENDS))
    for way in DAMAGES:
        print(f"{way:24}" + "".join(f"{counts[way, end]:14}" for end in ENDS))
    totals = [sum(counts[way, end] for way in DAMAGES) for end in ENDS]
    print(f"{'all':24}" + "".join(f"{total:14}" for total in totals))


if __name__ == "__main__":
    sys.exit(main())
