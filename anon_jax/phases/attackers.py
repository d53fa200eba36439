"""What the evaluations share: a fresh classifier learns what a frozen anonymizer lets through."""

from collections.abc import Callable
from typing import Any, NamedTuple

import grain

from anon_jax.phases import minimax, modules, setup
from anon_jax.results import has_result, read_result, write_result
from anon_jax.sharding import compile_step
from anon_jax.state import NetState, Network, TrainState, new_state
from anon_jax.steps import Networks, Step


class FrozenNet(NamedTuple):
    """A network that has learned, with its parameters as NumPy arrays.

    On the host, for a training step takes over the memory of the device arrays that it is given.
    """

    network: Network
    net: NetState


def new_attacker(
    run: setup.Run,
    method: str,
    *,
    phase: str,
    name: str,
    module: Any,
    source: setup.Source,
    seed: int = 0,
    clips: bool = False,
    decoder: FrozenNet | None = None,
) -> tuple[Networks, TrainState]:
    """The network `name` ("action", "privacy" or "decoder") and, if there is one, the frozen f_A.

    The initial parameters are the same for all methods; `seed` and `clips` as in
    `setup.fresh_net`. With a `decoder` it sees what that draws of the anonymized frames.
    """
    num_steps, per_epoch = setup.length(run.config[phase], source)
    optimizer = setup.optimizer(run.config[phase].optimizer, num_steps, per_epoch)
    networks = {name: Network(module, optimizer)}
    nets = {name: setup.fresh_net(run, phase, name, networks[name], seed=seed, clips=clips)}
    if setup.is_learned(method):
        networks["anonymizer"] = Network(
            modules.anonymizer(run.config), scrambled=run.config.compat.scrambled_frames
        )
        nets["anonymizer"] = setup.load_net(run, minimax.NAME, "anonymizer", networks["anonymizer"])
    if decoder:
        networks["decoder"], nets["decoder"] = decoder
    return networks, new_state(nets)


def train_attacker(
    run: setup.Run,
    method: str,
    state: TrainState,
    step: Step,
    stream: grain.IterDataset,
    *,
    phase: str,
    folder: str = "",
    label: str = "",
    source: setup.Source,
    score: Callable[[TrainState], float],
) -> TrainState:
    """Trains it and returns the state with the best score (higher is better) on validation.

    Data order and number of steps are the same for all methods.

    Args:
      phase: whose section of the config says how long.
      folder: of its checkpoints and metrics; "" = the phase's.
      label: tells them from those of others that attack the same method.
    """
    num_steps, per_epoch = setup.length(run.config[phase], source)
    compiled = compile_step(step, run.mesh, remat=run.config.remat)
    return setup.fit_phase(
        run,
        f"{folder or phase}/{method}{label}",
        state,
        lambda _: compiled,
        stream,
        num_steps=num_steps,
        checkpoint_every=max(1, round(run.config[phase].validate_every * per_epoch)),
        validate=score,
        sources={"train": source},
        return_best=True,
    )


def measure_once(
    run: setup.Run, method: str, part: str, measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """What `measure` finds, or what an earlier start has kept of it under the name `part`."""
    if not has_result(run.workdir, method, part):
        write_result(run.workdir, method, part, measure())
    return read_result(run.workdir, method, part)
