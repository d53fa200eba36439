"""What the phases share: the opened run, its networks, and one call of `fit`."""

import dataclasses
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grain
import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from anon_jax.checkpoint import Checkpointer
from anon_jax.loop import Loop, fit
from anon_jax.methods import Method, get_method
from anon_jax.optimizers import make_optimizer
from anon_jax.phases.datasets import Datasets, check_datasets
from anon_jax.phases.pretrained import check_init_from
from anon_jax.settings import check_pretrained, micro_batch_sizes
from anon_jax.sharding import check_batch_sizes, make_mesh, replicated
from anon_jax.state import NetState, Network, TrainState
from anon_jax.steps import Step
from anon_jax.writers import MetricWriter
from input_pipeline import loader
from input_pipeline.records import PooledSource, RecordSource

Source = RecordSource | PooledSource

# The phases that see raw data only; `config.pretrained` names a run that has done them.
PRETRAINING = ("reconstruct", "pretrain_privacy")


@dataclasses.dataclass(frozen=True)
class Run:
    """An opened run."""

    config: ConfigDict
    workdir: Path
    method: Method
    mesh: Mesh
    datasets: Datasets

    @property
    def evaluated(self) -> tuple[str, ...]:
        """Names of the methods that this run evaluates."""
        names = ("raw", self.config.method) if self.config.evaluate_raw else (self.config.method,)
        return tuple(dict.fromkeys(names))

    def key(self, *path: str) -> jax.Array:
        """The random key of one purpose, e.g. ("minimax", "action")."""
        # "rbg" keys: the default ones make the initialisation compile four times as long on a CPU.
        return jax.random.fold_in(jax.random.key(self.config.seed, impl="rbg"), _number(path))

    def seed(self, *path: str) -> int:
        """The integer seed of one purpose, for Grain and for steps."""
        return (_number(path) + self.config.seed) % 2**31


def open_run(config: ConfigDict, workdir: Path, datasets: Datasets) -> Run:
    """Checks what can be checked before anything is computed."""
    mesh = make_mesh(config.devices, config.fsdp)
    check_batch_sizes(micro_batch_sizes(config), mesh)
    check_pretrained(config)
    check_init_from(config)
    check_datasets(config, datasets)
    return Run(config, workdir, get_method(config.method), mesh, datasets)


def pretrains(run: Run) -> bool:
    """Whether the run does its PRETRAINING itself: it has an f_A, and takes no other run's."""
    return run.method.learned and not run.config.pretrained


def is_learned(method: str) -> bool:
    """Whether the method has an f_A, which "minimax" trains."""
    return get_method(method).learned


def optimizer(section: ConfigDict, num_steps: int, steps_per_epoch: int) -> Any:
    """The optax chain of a config's optimizer section."""
    return make_optimizer(**section, num_steps=num_steps, steps_per_epoch=steps_per_epoch)


def length(section: ConfigDict, source: Source) -> tuple[int, int]:
    """Steps of a phase in all, and of one pass over its source (at least 1)."""
    batch_size = section.batch_clips if "batch_clips" in section else section.batch_size
    per_epoch = max(1, len(source) // batch_size)
    return round(section.epochs * per_epoch), per_epoch


def fit_phase(
    run: Run,
    name: str,
    state: TrainState,
    schedule: Callable[[int], Step],
    stream: grain.IterDataset,
    *,
    num_steps: int,
    checkpoint_every: int | None = None,
    sample: Callable[[TrainState], None] | None = None,
    validate: Callable[[TrainState], float] | None = None,
    sources: Mapping[str, Source],
    return_best: bool = False,
) -> TrainState:
    """One call of `fit` with the run's folders; returns the last state, or the best validated."""
    loop = Loop(
        name=name,
        num_steps=num_steps,
        log_every=run.config.log_every,
        checkpoint_every=checkpoint_every or run.config.checkpoint_every,
        sample_every=run.config.sample_every if sample else 0,
        sample=sample,
        validate=validate,
        name_records=lambda indices: name_records(indices, sources),
        on_nonfinite=run.config.on_nonfinite,
    )
    checkpointer = Checkpointer(checkpoint_dir(run, name), scored=return_best)
    try:
        last = fit(
            state,
            schedule,
            loader.with_workers(stream, run.config.data.num_workers, owner=str(run.workdir)),
            loop=loop,
            mesh=run.mesh,
            checkpointer=checkpointer,
            writer=MetricWriter(run.workdir / "metrics", name),
        )
        return checkpointer.restore_best(last) if return_best else last
    finally:
        checkpointer.close()


def checkpoint_dir(run: Run, name: str) -> Path:
    """Where the phase `name` keeps its checkpoints."""
    return run.workdir / "checkpoints" / name


def load_net(run: Run, phase: str, name: str, network: Network, *, clips: bool = False) -> NetState:
    """The network `name` as the phase left it, without optimizer state; `clips` as in `fresh_net`.

    Raises:
      WorkdirError: the phase has not run.
    """
    directory = checkpoint_dir(run, phase)
    if run.config.pretrained and phase in PRETRAINING:
        directory = Path(run.config.pretrained).expanduser().absolute() / "checkpoints" / phase
    checkpointer = Checkpointer(directory)
    try:
        like = network.abstract(_clip_shape(run) if clips else _SHAPES[name](run))
        return checkpointer.restore_net(name, like, replicated(run.mesh))
    finally:
        checkpointer.close()


def fresh_net(
    run: Run, phase: str, name: str, network: Network, *, seed: int = 0, clips: bool = False
) -> NetState:
    """The network `name`, newly initialised with the phase's own random key.

    Args:
      seed: of one among several networks of that name.
      clips: it sees clips, whatever the network of that name sees otherwise.
    """
    path = (phase, name, str(seed)) if seed else (phase, name)
    shape = _clip_shape(run) if clips else _SHAPES[name](run)
    return network.init(run.key(*path), shape)


def name_records(indices: Any, sources: Mapping[str, Source]) -> str:
    """Names the records of a batch: "clip: a, b; image: c"."""
    by_stream = indices if isinstance(indices, dict) else {next(iter(sources)): indices}
    parts = [
        f"{stream}: {', '.join(sources[stream][int(i)].id for i in of_stream)}"
        for stream, of_stream in by_stream.items()
    ]
    return "; ".join(parts)


def image_shape(run: Run) -> tuple[int, ...]:
    """Of one frame as f_A and f_B see it, with its batch axis."""
    return (1, run.config.data.resolution, run.config.data.resolution, 3)


def _clip_shape(run: Run) -> tuple[int, ...]:
    return (1, run.config.data.num_frames, *image_shape(run)[1:])


_SHAPES = {
    "anonymizer": image_shape,
    "action": _clip_shape,
    "privacy": image_shape,
    "decoder": image_shape,
}


def _number(path: tuple[str, ...]) -> int:
    return zlib.crc32("/".join(path).encode())
