"""What the evaluations share: a fresh classifier learns what a frozen anonymizer lets through."""

from collections.abc import Callable
from typing import Any

import grain

from anon_jax.phases import minimax, modules, setup
from anon_jax.sharding import compile_step
from anon_jax.state import Network, TrainState, new_state
from anon_jax.steps import Networks, Step


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
) -> tuple[Networks, TrainState]:
    """The classifier `name` ("action" or "privacy") and, if there is one, the frozen anonymizer.

    The classifier's initial parameters are the same for all methods; `seed` and `clips` as in
    `setup.fresh_net`.
    """
    num_steps, per_epoch = setup.length(run.config[phase], source)
    optimizer = setup.optimizer(run.config[phase].optimizer, num_steps, per_epoch)
    networks = {name: Network(module, optimizer)}
    nets = {name: setup.fresh_net(run, phase, name, networks[name], seed=seed, clips=clips)}
    if setup.is_learned(method):
        networks["anonymizer"] = Network(modules.anonymizer(run.config))
        nets["anonymizer"] = setup.load_net(run, minimax.NAME, "anonymizer", networks["anonymizer"])
    return networks, new_state(nets)


def train_attacker(
    run: setup.Run,
    method: str,
    state: TrainState,
    step: Step,
    stream: grain.IterDataset,
    *,
    phase: str,
    label: str = "",
    source: setup.Source,
    score: Callable[[TrainState], float],
) -> TrainState:
    """Trains it and returns the state with the best score (higher is better) on validation.

    Data order and number of steps are the same for all methods. `label` tells its checkpoints and
    metrics from those of others that attack the same method.
    """
    num_steps, per_epoch = setup.length(run.config[phase], source)
    compiled = compile_step(step, run.mesh)
    return setup.fit_phase(
        run,
        f"{phase}/{method}{label}",
        state,
        lambda _: compiled,
        stream,
        num_steps=num_steps,
        checkpoint_every=max(1, round(run.config[phase].validate_every * per_epoch)),
        validate=score,
        sources={"train": source},
        return_best=True,
    )
