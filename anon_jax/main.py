"""Runs the phases of a config: python -m anon_jax.main --config=configs/demo.py --workdir=DIR.

Exit codes: 0 done; 1 an error, said in a sentence; 75 (`interruption.EXIT_CODE`) stopped by SIGTERM
or SIGINT. After 1 and 75 the same command goes on where it was.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from anon_jax import interruption, settings
from anon_jax.errors import RunError
from anon_jax.phases import (
    datasets,
    evaluate_action,
    evaluate_frames,
    evaluate_identity,
    evaluate_privacy,
    evaluate_reconstruction,
    minimax,
    pretrain_privacy,
    reconstruct,
    report,
    setup,
)
from anon_jax.results import add_seconds, read_results
from anon_jax.sharding import cpu_devices
from anon_jax.workdir_lock import workdir_lock
from input_pipeline.errors import DataError
from input_pipeline.loader import remove_shared_memory
from input_pipeline.progress import say

_CONFIG = config_flags.DEFINE_config_file("config", help_string="Config file of the run.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; made, or resumed.", required=True
)

_PHASES = {
    "reconstruct": reconstruct.run,
    "pretrain_privacy": pretrain_privacy.run,
    "minimax": minimax.run,
    "evaluate_action": evaluate_action.run,
    "evaluate_privacy": evaluate_privacy.run,
    "evaluate_reconstruction": evaluate_reconstruction.run,
    "evaluate_identity": evaluate_identity.run,
    "evaluate_frames": evaluate_frames.run,
    "report": report.run,
}


def execute(config: ConfigDict, workdir: Path) -> None:
    """Runs `config.phases` in `workdir`, each from where it stopped.

    Raises:
      RunError, DataError: with a message for the user.
      OSError: something could not be read or written; what was there before is kept.
      Interrupted: a signal came, where `interruption.handled` is in force.
    """
    settings.check_config(config)
    run = setup.open_run(config, workdir, datasets.ensure_datasets(config))
    with workdir_lock(workdir):
        settings.claim_workdir(workdir, config)
        remove_shared_memory(str(workdir))
        for phase in config.phases:
            with _timed(workdir, phase), _memory_explained(config, phase):
                _PHASES[phase](run)


@contextlib.contextmanager
def _timed(workdir: Path, phase: str) -> Iterator[None]:
    """Adds the time of the block to the phase's seconds, unless an error ends it."""
    start = time.monotonic()
    try:
        yield
    except interruption.Interrupted:
        add_seconds(workdir, phase, time.monotonic() - start)
        raise
    add_seconds(workdir, phase, time.monotonic() - start)


@contextlib.contextmanager
def _memory_explained(config: ConfigDict, phase: str) -> Iterator[None]:
    """Makes an error of want of memory one that names the fields to lower."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        sizes = settings.batch_sizes(config)
        own = {field: size for field, size in sizes.items() if field.startswith(f"{phase}.")}
        listed = ", ".join(f"config.{field} ({size})" for field, size in (own or sizes).items())
        reason = next(iter(str(error).splitlines()), "no memory is left")
        raise RunError(
            f"Phase {phase} needs more memory than there is: {reason:.200}. Lower {listed}, "
            f"config.data.resolution ({config.data.resolution}) or config.data.num_frames "
            f"({config.data.num_frames}), in another --workdir; or set config.dtype='bfloat16'"
        ) from error


def _main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unknown arguments: {' '.join(argv[1:])}")
    config, workdir = _CONFIG.value, Path(_WORKDIR.value).absolute()
    with interruption.handled():
        try:
            settings.check_config(config)
            # Before JAX starts its backend; see cpu_devices. Accelerators are not touched by this.
            jax.config.update("jax_num_cpu_devices", cpu_devices(settings.batch_sizes(config)))
            execute(config, workdir)
        except (RunError, DataError) as error:
            sys.exit(f"error: {error}")
        except OSError as error:
            sys.exit(
                f"error: {error}. What was saved is kept, and the same command goes on from it"
            )
        except interruption.Interrupted as error:
            say(f"interrupted{f': {error}' if str(error) else ''}; the same command goes on")
            sys.exit(interruption.EXIT_CODE)
    if "report" in config.phases:
        _print_summary(workdir)


def _print_summary(workdir: Path) -> None:
    """One line per method and the place of the report, on standard output."""
    for method, measured in read_results(workdir).items():
        figures = {"Top-1": measured.get("action", {}).get("top1")}
        figures |= {"cMAP": measured.get("privacy", {}).get("cmap")}
        shown = ", ".join(f"{name} {value:.3f}" for name, value in figures.items() if value)
        print(f"{method}: {shown}")
    print(f"Report: {workdir / 'report' / 'report.html'}")


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; an override of a field that the config lacks ends in a sentence."""
    flags.mark_flag_as_required("config")
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        sys.exit(f"error: {error}")
    except AttributeError as error:  # from config_flags, for --config.FIELD that is not there
        overrides = ", ".join(a for a in argv if a.startswith("--config."))
        sys.exit(f"error: no such field of the config: {error}\nGiven were: {overrides}")
    logging.set_verbosity(logging.WARNING)  # the libraries tell their steps at level INFO
    return rest


def main() -> None:
    """The console script."""
    app.run(_main, flags_parser=_parse)


if __name__ == "__main__":
    main()
