"""Runs the phases of a config: python -m anon_jax.main --config=configs/demo.py --workdir=DIR.

Several processes, on one machine or many, make one run together: each gets the same command, with
its own --process=I beside --coordinator=HOST:PORT --processes=N, or --distributed=auto.

With --verify=DIR the finished run in DIR is evaluated once more instead, see `anon_jax.verify`.

Exit codes: 0 done; 1 an error, said in a sentence; 75 (`interruption.EXIT_CODE`) stopped by SIGTERM
or SIGINT. After 1 and 75 the same command goes on where it was.
"""

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax
from absl import app, flags, logging
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict

from anon_jax import allocator, distributed, interruption, joining, settings, verify
from anon_jax.config_files import define_config
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

_CONFIG = define_config("Config file of the run, or the name of one that comes with the package.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; made, or resumed.")
_VERIFY = flags.DEFINE_string(
    "verify", None, "Folder of a finished run to evaluate once more, in --workdir or a scratch one."
)
_TOLERANCE = flags.DEFINE_float(
    "tolerance", 0.0, "By how much a figure may differ in --verify.", lower_bound=0.0
)
# So that --help has them too: absl shows the flags of the program's own file alone.
flags.declare_key_flag("config")
flags.adopt_module_key_flags(joining)

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
    _use_compilation_cache(config.compilation_cache)
    run = setup.open_run(config, workdir, datasets.ensure_datasets(config))
    with workdir_lock(workdir):
        settings.claim_workdir(workdir, config)
        remove_shared_memory(str(workdir))  # on each machine
        distributed.barrier()
        for phase in config.phases:
            with _timed(workdir, phase), _memory_explained(config, phase):
                _PHASES[phase](run)


def _use_compilation_cache(folder: str) -> None:
    """Compiled steps are kept in `folder`, and taken from it; "" changes nothing."""
    if folder:
        path = Path(folder).expanduser().absolute()
        path.mkdir(parents=True, exist_ok=True)  # JAX itself would only warn where it cannot
        compilation_cache.set_cache_dir(str(path))
        compilation_cache.reset_cache()  # it may have been asked for, and found unused, before


@contextlib.contextmanager
def _timed(workdir: Path, phase: str) -> Iterator[None]:
    """Adds the time of the block to the phase's seconds, unless an error ends it."""
    start = time.monotonic()

    def add() -> None:
        if distributed.is_first():
            add_seconds(workdir, phase, time.monotonic() - start)

    try:
        yield
    except interruption.Interrupted:
        add()
        raise
    add()


@contextlib.contextmanager
def _memory_explained(config: ConfigDict, phase: str) -> Iterator[None]:
    """Makes an error of want of memory one that names the fields to lower."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = next(iter(str(error).splitlines()), "no memory is left")
        raise RunError(
            f"Phase {phase} needs more memory than there is: {reason:.200}. "
            f"{_ways_to_save_memory(config, phase)}"
        ) from error


def _ways_to_save_memory(config: ConfigDict, phase: str) -> str:
    """The fields that help, with their present values."""
    sizes = settings.batch_sizes(config)
    sizes = {f: size for f, size in sizes.items() if f.startswith(f"{phase}.")} or sizes
    phases = dict.fromkeys(field.partition(".")[0] for field in sizes)
    parts = ", ".join(f"config.{name}.accumulate ({config[name].accumulate})" for name in phases)
    listed = ", ".join(f"config.{field} ({size})" for field, size in sizes.items())
    data = config.data
    remat = "Set config.remat='blocks', with which this --workdir goes on; or, in another one, "
    other = (
        f"raise {parts}, lower {listed}, config.data.resolution ({data.resolution}) or "
        f"config.data.num_frames ({data.num_frames}), or set config.dtype='bfloat16'"
    )
    return remat + other if config.remat != "blocks" else f"In another --workdir {other}"


def _main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unknown arguments: {' '.join(argv[1:])}")
    with interruption.handled(), distributed.ending_together():
        try:
            if _VERIFY.value:
                if not joining.by_flags().alone:
                    raise RunError("--verify is for one process; leave out the flags of several")
                _verify(Path(_VERIFY.value).absolute())
                return
            config, workdir = _CONFIG.value, Path(_WORKDIR.value or "").absolute()
            settings.check_config(config)
            joining.join(joining.by_flags())
            _begin(config)
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
        if "report" in config.phases and distributed.is_first():
            _print_summary(workdir)


def _begin(config: ConfigDict) -> None:
    # Both before JAX starts its backend. Accelerators are not touched by this.
    allocator.keep_memory()
    devices = cpu_devices(settings.micro_batch_sizes(config), config.devices)
    jax.config.update("jax_num_cpu_devices", devices)


def _verify(run: Path) -> None:
    """Prints what differs when a run is evaluated once more, and exits with 1 where something does.

    The scratch folder goes on where it was, as every workdir, where --workdir names it.
    """
    config = verify.verified_config(run)
    _begin(config)
    with tempfile.TemporaryDirectory(prefix="anon_jax_verify_") as folder:
        scratch = Path(_WORKDIR.value or folder).absolute()
        verify.prepare(run, scratch, config)
        execute(config, scratch)
        differing = verify.differing_figures(run, scratch, _TOLERANCE.value)
    print("\n".join(differing) or f"All figures of {run} agree within {_TOLERANCE.value:g}")
    if differing:
        sys.exit(
            f"error: {len(differing)} figures of {run} differ by more than {_TOLERANCE.value:g}"
        )


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
    flags.register_multi_flags_validator(
        ["config", "workdir", "verify"],
        lambda given: given["verify"] or (given["config"] and given["workdir"]),
        message="Flags --config and --workdir must have a value, or --verify",
    )
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
    try:
        app.run(_main, flags_parser=_parse)
    except SystemExit as ended:
        if ended.code == interruption.EXIT_CODE:
            interruption.leave()
        raise


if __name__ == "__main__":
    main()
