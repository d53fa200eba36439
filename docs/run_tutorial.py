"""Follows docs/tutorial.md to the letter: python docs/run_tutorial.py [--folder=NEW_FOLDER].

Files are made and commands are run in the order of the page, in an empty folder, with the Python
that runs this program. It ends with the first command that fails. Takes some minutes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from code_blocks import code_blocks

ROOT = Path(__file__).resolve().parents[1]


def follow(page: Path, folder: Path) -> None:
    """Makes each titled block a file of `folder`, and runs each bash block there.

    Raises:
      subprocess.CalledProcessError: a command failed.
    """
    # "python" has to be the one that this runs in, and the package that of this checkout.
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    )
    for block in code_blocks(page):
        if block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "bash":
            print(f"{page.name}:{block.line}\n{block.text}", flush=True)
            start = time.monotonic()
            command = ["bash", "-euo", "pipefail", "-c", block.text]
            subprocess.run(command, cwd=folder, env=environment, check=True)
            print(f"-- {time.monotonic() - start:.0f} s\n", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="a new folder; else one that is removed again")
    folder = parser.parse_args().folder
    page = ROOT / "docs" / "tutorial.md"
    if folder:
        folder.mkdir(parents=True)
        follow(page, folder)
        return
    with tempfile.TemporaryDirectory(prefix="tutorial_") as scratch:
        follow(page, Path(scratch))


if __name__ == "__main__":
    main()
