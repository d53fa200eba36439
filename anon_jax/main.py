"""Runs the phases of a config: python -m anon_jax.main --config=configs/demo.py --workdir=DIR."""

import sys
import time
from pathlib import Path

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from anon_jax import settings
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
from input_pipeline.errors import DataError

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
    """
    settings.check_config(config)
    run = setup.open_run(config, workdir, datasets.ensure_datasets(config))
    settings.claim_workdir(workdir, config)
    for phase in config.phases:
        start = time.monotonic()
        _PHASES[phase](run)
        add_seconds(workdir, phase, time.monotonic() - start)


def _main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unknown arguments: {' '.join(argv[1:])}")
    config, workdir = _CONFIG.value, Path(_WORKDIR.value).absolute()
    try:
        settings.check_config(config)
        # Before JAX starts its backend; see cpu_devices. Accelerators are not touched by this.
        jax.config.update("jax_num_cpu_devices", cpu_devices(settings.batch_sizes(config)))
        execute(config, workdir)
    except (RunError, DataError) as error:
        sys.exit(f"error: {error}")
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
