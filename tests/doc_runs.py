"""Runs the commands of a page in a folder, with the words of the page and what doc_tables adds."""

import dataclasses
import glob
import importlib.util
import itertools
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from doc_commands import PROJECT, ROOT, Block, Command
from doc_tables import FILLED, FOR_PAGE, MAY_END_WITH, NEEDS, NOT_RUN, SMALL

_LIMIT = 900.0  # seconds of a command


class CommandFailedError(AssertionError):
    """A command of a page failed, or did not write what it should."""


@dataclasses.dataclass(frozen=True)
class Runner:
    """Runs commands as a reader of a page does.

    Attributes:
      folder: where they run; their home folder too, so that "~" is of this page alone.
      caches: of libraries, shared by all pages.
    """

    folder: Path
    caches: Path

    def page(self, commands: Sequence[Command]) -> list[str]:
        """Runs the commands of a page in their order.

        Returns:
          What was left out, because a module is not installed, with its name.

        Raises:
          CommandFailedError: another exit status than 0, or something is not written.
        """
        left_out = []
        for block, group in itertools.groupby(commands, key=lambda command: command.block):
            port = str(free_port())
            ready = []
            found = list(group)
            for command in found:
                missing = missing_module(command)
                if missing:
                    left_out.append(f"{command} (no module {missing})")
                elif reason_not_run(command) is None:
                    ready.append(words_of(command, port))
            if "\ndone" in block.text:
                self.shell(block, ready[0], ready[0][len(found[0].words) :], port)
            elif len(ready) > 1 and all("--process=" in " ".join(words) for words in ready):
                self.together(ready)
            else:
                for words in ready:
                    self.serve(words, port) if "anon_jax.app" in words else self.run(words)
        return left_out

    def run(self, words: Sequence[str]) -> None:
        """One command that ends by itself."""
        self.together([words])

    def together(self, commands: Sequence[Sequence[str]]) -> None:
        """Commands that need each other, all at once."""
        start = time.monotonic()
        processes = [self._start(self._expanded(words)) for words in commands]
        for words, process in zip(commands, processes, strict=True):
            self._finish(words, process, start)

    def shell(self, block: Block, words: Sequence[str], added: Sequence[str], port: str) -> None:
        """A block of the shell's own words, such as loops.

        Args:
          words: those of its one command.
          added: the last of them, which the page does not have.
        """
        text = re.sub(r"\\\n\s*", " ", _filled(block.page, block.text, port))
        text = text.replace(" &\n", f" {shlex.join(added)} &\n")
        assert shlex.join(added) in text, f"{block.page}:{block.line} has no command with &"
        start = time.monotonic()
        self._finish(words, self._start(["bash", "-euo", "pipefail", "-c", text]), start)

    def serve(self, words: Sequence[str], port: str) -> None:
        """A command that serves a page until Ctrl-C."""
        start = time.monotonic()
        process = self._start(words)
        try:
            while not _answers(port):
                if process.poll() is not None or time.monotonic() - start > 120:
                    process.kill()
                    raise CommandFailedError(f"{shlex.join(words)}: {process.communicate()[0]}")
                time.sleep(0.5)
        finally:
            process.send_signal(signal.SIGINT)
        self._finish(words, process, start)

    def _expanded(self, words: Sequence[str]) -> list[str]:
        """With the files that a pattern stands for, as the shell names them."""
        found: list[str] = []
        for word in words:
            paths = sorted(glob.glob(word, root_dir=self.folder)) if "*" in word else []
            found += paths or [word]
        return found

    def _start(self, words: Sequence[str]) -> subprocess.Popen:
        program = {"python": [sys.executable]}.get(words[0], [words[0]])
        if words[0] in PROJECT["scripts"]:
            module, function = PROJECT["scripts"][words[0]].split(":")
            program = [
                sys.executable,
                "-c",
                f"import sys, {module}; sys.exit({module}.{function}())",
            ]
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder),
            "MPLCONFIGDIR": str(self.caches / "matplotlib"),
            "JAX_PLATFORMS": "cpu",
            # Programs that run a few times: to compile them is most of the time.
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        }
        return subprocess.Popen(
            [*program, *words[1:]],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _finish(self, words: Sequence[str], process: subprocess.Popen, start: float) -> None:
        """Waits for its end, and looks for what it has to leave."""
        try:
            said, _ = process.communicate(timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            said = f"{process.communicate()[0]}\nnot over after {_LIMIT:g} s"
        shown = textwrap.shorten(shlex.join(words), 160)
        print(f"-- {time.monotonic() - start:.0f} s: {shown}", flush=True)
        allowed = [code for part, code in MAY_END_WITH.items() if part in " ".join(words)]
        if process.returncode not in (0, *allowed) or "Traceback" in said:
            raise CommandFailedError(f"{shlex.join(words)}\nexit {process.returncode}\n{said}")
        if missing := [name for name in written(words) if not _is_there(self.folder / name)]:
            raise CommandFailedError(f"{shlex.join(words)}\ndid not write {missing}\n{said}")


def reason_not_run(command: Command) -> str | None:
    """Why a command is not run; None where it is."""
    text = " ".join(command.words)
    return next((why for start, why in NOT_RUN.items() if text.startswith(start)), None)


def missing_module(command: Command) -> str | None:
    """A module that the command needs and that is not installed."""
    text = " ".join(command.words)
    modules = [module for part, module in NEEDS.items() if part in text]
    return next((m for m in modules if importlib.util.find_spec(m) is None), None)


def page_of(command: Command) -> str:
    """The name of a page, as the tables have it."""
    return str(command.block.page.relative_to(ROOT))


def words_of(command: Command, port: str) -> list[str]:
    """The words of the page, filled in and followed by the flags that make the command small."""
    words = [_filled(command.block.page, word, port) for word in command.words]
    words = [f"--workdir=runs/{command.block.line}" if w == "--workdir=DIR" else w for w in words]
    text = " ".join(words)
    tables = (SMALL, FOR_PAGE.get(page_of(command), {}))
    added = [flag for table in tables for part, flags in table.items() if part in text
             for flag in flags]  # fmt: skip
    end = words.index("--") if "--" in words else len(words)
    return [*words[:end], *added, *words[end:]]


def _filled(page: Path, text: str, port: str) -> str:
    for old, new in FILLED.get(str(page.relative_to(ROOT)), {}).items():
        if text != "--workdir=DIR":
            text = text.replace(old, new)
    return text.replace("PORT", port).replace("CHECKOUT", str(ROOT))


def written(words: Sequence[str]) -> list[str]:
    """Patterns of what a command leaves, by its flags; the last one counts, as for the command."""
    given = dict(word.partition("=")[::2] for word in words if word.startswith("--"))
    text = " ".join(words)
    found = [given[flag] for flag in ("--output", "--summary") if flag in given]
    if "anon_jax.main --config" in text or text.startswith("anon-jax "):
        found += [f"{given['--workdir']}/{name}" for name in ("results.json", "report/report.html")]
    elif "anon_jax.sweep" in text:
        found += [f"{given['--workdir']}/cells/*/report/report.html"]
    elif "input_pipeline.build " in text or "class_folders.py" in text:
        found += [f"{given['--data_dir']}/{_dataset(words, given)}/**/dataset_info.json"]
    elif "input_pipeline.detect" in text:
        found += [f"{given['--data_dir']}/{words[3]}/**/boxes-{given['--detector']}.npz"]
    elif "benchmarks.long_run" in text:
        found += [f"{given['--workdir']}/series.csv"]
    return found


def _dataset(words: Sequence[str], given: dict[str, str]) -> str:
    """BUILDER, or BUILDER/CONFIG, of a build."""
    name = next(word for word in words[2:] if not word.startswith("-") and "." not in word)
    return f"{name}/{given['--name']}" if "--name" in given else name


def _is_there(pattern: Path) -> bool:
    """A file of the pattern that has something in it, or such a folder."""
    for name in glob.glob(str(pattern), recursive=True):
        path = Path(name)
        if any(path.iterdir()) if path.is_dir() else path.stat().st_size:
            return True
    return False


def _answers(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
