"""A run that is small enough to be killed a hundred times, and a log of where it was.

    python -m benchmarks.small_run LOG --config=benchmarks/small_run.py --workdir=DIR
    python -m benchmarks.small_run --serve

The networks have one stage, the dataset a few people. LOG gets a line, with the seconds of the
monotonic clock, for each start, each phase that begins, each step, and the two ends of each save;
lines are written at once, so that SIGKILL loses none. With --serve, each line of standard input
is a JSON list of arguments; a process of its own is forked for it, whose id and then exit code
(minus the signal that ended it) are printed: the libraries are imported once, not for each run.
"""

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from configs import demo

_PEOPLE = {"train": 24, "validation": 12, "test": 12}
_CLIPS = {"train": 48, "validation": 24, "test": 24}
_SMALL = {"stage_sizes": (1,), "width": 4}
_NETWORKS = {
    "unetpp_tiny": {**_SMALL, "decoder_channels": (4, 4)},
    "i3d_tiny": {**_SMALL, "temporal_marks": ((1,),)},
    "resnet_tiny": _SMALL,
}


def get_config() -> ConfigDict:
    """The demo with one or two epochs of everything, on the small dataset."""
    config = demo.get_config()
    config.data.videos = "moving_figures/small_videos"
    config.data.images = "moving_figures/small_images"
    config.data.num_frames = 4
    config.data.resolution = 16
    config.data.num_threads = 1
    config.log_every = 2
    config.sample_every = 4
    config.checkpoint_every = 3
    for phase in ("reconstruct", "pretrain_privacy", "evaluate_action", "evaluate_privacy"):
        config[phase].epochs = 2.0
        config[phase].batch_size = 16
        config[phase].optimizer.warmup_epochs = 0.0
    config.evaluate_action.validate_every = 1.0
    config.evaluate_privacy.validate_every = 1.0
    config.evaluate_frames.videos = 3
    config.minimax.epochs = 1.5
    config.minimax.warmup_epochs = 0.3
    config.minimax.batch_clips = 8
    config.minimax.batch_images = 8
    return config


def shrink() -> None:
    """Makes the networks small, and the small dataset known, in this process."""
    from anon_jax.models import MODELS
    from input_pipeline.datasets.moving_figures.config import MovingFiguresConfig
    from input_pipeline.datasets.moving_figures.moving_figures_dataset_builder import MovingFigures

    for name, numbers in _NETWORKS.items():
        MODELS[name] = functools.partial(MODELS[name], **numbers)
    MovingFigures.BUILDER_CONFIGS += [
        MovingFiguresConfig(
            name=f"small_{kind}",
            description="A few people.",
            still=kind == "images",
            frames=1 if kind == "images" else 10,
            clips=_CLIPS,
            subjects=_PEOPLE,
        )
        for kind in ("videos", "images")
    ]


def _logged(log: int, call: Callable[..., Any], line: str, after: str = "") -> Callable[..., Any]:
    """The same function, which says in the log that it was called, and that it has returned."""

    def logging(*arguments: Any, **named: Any) -> Any:
        _say(log, line)
        result = call(*arguments, **named)
        _say(log, after)
        return result

    return logging


def _say(log: int, line: str) -> None:
    if line:
        os.write(log, f"{time.monotonic()} {line}\n".encode())


def _serve() -> bool:
    """Forks a process for each line of standard input; returns in these alone, ready to run.

    A fork copies one thread: OPENBLAS_NUM_THREADS=1 keeps NumPy from having made others.
    """
    from anon_jax import main as run  # the libraries, before the first fork

    del run
    for line in sys.stdin:
        child = os.fork()
        if not child:
            stderr, *arguments = json.loads(line)
            os.setsid()  # Ctrl-C of a terminal reaches a whole group
            for number, path in enumerate((os.devnull, os.devnull, stderr)):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
            sys.argv[1:] = arguments
            return True
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return False


def main() -> None:
    """The command line."""
    if sys.argv[1:] == ["--serve"] and not _serve():
        return
    log = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    from anon_jax import loop
    from anon_jax import main as run
    from anon_jax.checkpoint import Checkpointer

    _say(log, "start")
    shrink()
    loop.shard_batch = _logged(log, loop.shard_batch, "step")
    for name in ("save", "record_score"):
        setattr(Checkpointer, name, _logged(log, getattr(Checkpointer, name), "save", "saved"))
    ensure = run.datasets.ensure_datasets
    run.datasets.ensure_datasets = _logged(log, ensure, "phase dataset", "built")
    for phase, function in run._PHASES.items():
        run._PHASES[phase] = _logged(log, function, f"phase {phase}")
    run.execute = _logged(log, run.execute, "", "phase leaving")
    run.main()


if __name__ == "__main__":
    main()
