"""Phase "minimax": f_A against f_B, with f_T; steps 1 and 2 in turn on successive batches."""

from collections.abc import Callable, Mapping
from typing import Any

import grain
import jax
import numpy as np
from ml_collections import ConfigDict

from anon_jax.minimax_steps import (
    Penalty,
    Weights,
    make_adversary_step,
    make_anonymizer_step,
    make_privacy_step,
    make_restart,
)
from anon_jax.phases import modules, pretrain_privacy, pretrained, reconstruct, setup, streams
from anon_jax.privacy_terms import Contrastive, PrivacyTerm, Supervised
from anon_jax.sharding import compile_step, constrain_split, replicated, to_host
from anon_jax.state import Network, TrainState, new_state
from anon_jax.steps import Step, anonymize, to_float
from anon_jax.writers import save_comparison
from input_pipeline.loader import zip_streams
from input_pipeline.records import RecordSource

NAME = "minimax"
_SAMPLES = 8  # frames in a picture of samples/


def run(run: setup.Run) -> None:
    """Trains the three networks (arXiv 2504.14301, Sec. 3) and leaves their checkpoint.

    f_A comes from "reconstruct", f_B from "pretrain_privacy", f_T from `config.init_from.action` or
    is new, and so is an f_B that classifies. A method that learns no anonymizer has nothing to do
    here.
    """
    if not run.method.learned:
        return
    sources = make_sources(run)
    num_steps, per_epoch = setup.length(run.config.minimax, sources["clip"])
    networks = make_networks(run, num_steps, per_epoch)
    setup.fit_phase(
        run,
        NAME,
        _initial_state(run, networks),
        _schedule(run, networks, per_epoch),
        make_stream(run, sources),
        num_steps=num_steps,
        sample=_sampler(run, networks, sources["clip"]),
        sources=sources,
    )


def make_sources(run: setup.Run) -> dict[str, RecordSource]:
    """The records of the two streams, "clip" and "image"."""
    return {
        "clip": RecordSource(run.datasets.videos, "train"),
        "image": streams.contrast_source(run),
    }


def make_stream(run: setup.Run, sources: Mapping[str, RecordSource]) -> grain.IterDataset:
    """Batches of clips and of pairs of images, or clips: {"clip": ..., "image": ...}."""
    phase = run.config.minimax
    return zip_streams(
        {
            "clip": streams.clip_stream(run, sources["clip"], phase.batch_clips, name=NAME),
            "image": streams.contrast_stream(run, sources["image"], phase.batch_images, name=NAME),
        }
    )


def make_networks(run: setup.Run, num_steps: int, per_epoch: int) -> dict[str, Network]:
    """f_A, f_T and f_B, each with its own optimizer chain, whose rate follows its own updates."""
    phase = run.config.minimax
    updates = count_updates(phase, num_steps, per_epoch)
    parts = {
        "anonymizer": modules.anonymizer(run.config),
        "action": modules.action(run.config, len(run.datasets.videos.actions)),
        "privacy": modules.supervised_privacy(run.config, len(run.datasets.images.attributes))
        if run.method.supervised
        else modules.privacy(run.config),
    }
    scrambled = {"anonymizer": run.config.compat.scrambled_frames}
    return {
        name: Network(
            module,
            setup.optimizer(
                phase[f"{name}_optimizer"],
                updates[name],
                max(1, round(updates[name] * per_epoch / max(1, num_steps))),
            ),
            scrambled.get(name, False),
        )
        for name, module in parts.items()
    }


def count_updates(phase: ConfigDict, num_steps: int, per_epoch: int) -> dict[str, int]:
    """How many of the phase's steps update each network: {network: updates}.

    Args:
      phase: config.minimax.
      num_steps: of the phase, the warm-up of f_T and f_B included.
      per_epoch: steps of an epoch.
    """
    warmup = min(num_steps, round(phase.warmup_epochs * per_epoch))
    order = _order(phase)
    cycles, rest = divmod(num_steps - warmup, len(order))
    counts = {name: cycles * order.count(name) + order[:rest].count(name) for name in order}
    anonymizer = counts["anonymizer"]
    action = warmup + counts.get("adversary", 0)
    return {"anonymizer": anonymizer, "action": action, "privacy": num_steps - anonymizer}


def _order(phase: ConfigDict) -> list[str]:
    """Names of the steps of a cycle: f_A, then f_T with f_B, then f_B alone."""
    return [
        "anonymizer",
        *["adversary"] * phase.adversary_steps,
        *["privacy"] * phase.privacy_steps,
    ]


def _initial_state(run: setup.Run, networks: dict[str, Network]) -> TrainState:
    trained = {"anonymizer": reconstruct.NAME, "privacy": pretrain_privacy.NAME}
    if run.method.supervised:
        del trained["privacy"]  # what was pre-trained by contrast has another head
    nets = {}
    for name, network in networks.items():
        if name in trained:
            clips = name == "privacy" and streams.contrasts_clips(run)
            loaded = setup.load_net(run, trained[name], name, network, clips=clips)
            nets[name] = network.with_optimizer(loaded)
        else:
            nets[name] = setup.fresh_net(run, NAME, name, network)
    nets["action"] = pretrained.begin(
        run.config, "action", networks["action"], nets["action"], run.mesh
    )
    return new_state(nets, multiplier=run.config.minimax.weights.penalty)


def make_cycle(run: setup.Run, networks: dict[str, Network]) -> list[Step]:
    """Compiled: step 1, `adversary_steps` times step 2, `privacy_steps` times that of f_B alone."""
    phase = run.config.minimax
    weights = Weights(**phase.weights)
    if not run.method.penalty:
        weights = Weights(weights.action, weights.privacy, 0.0)
    shared: dict[str, Any] = {
        "privacy": _privacy_term(run),
        "seed": run.seed(NAME),
        "accumulate": phase.accumulate,
    }
    anonymizer_step = make_anonymizer_step(
        networks,
        weights=weights,
        penalty=Penalty(**phase.penalty, constant=run.config.compat.constant_penalty),
        privacy_batch_norm=phase.privacy_batch_norm,
        **shared,
    )
    adversary_step = make_adversary_step(networks, **shared)
    privacy_step = make_privacy_step(networks, **shared)
    steps = {
        "anonymizer": anonymizer_step,
        "adversary": adversary_step,
        "privacy": privacy_step,
    }
    compiled = {
        name: compile_step(step, run.mesh, remat=run.config.remat) for name, step in steps.items()
    }
    return [compiled[name] for name in _order(phase)]


def _privacy_term(run: setup.Run) -> PrivacyTerm:
    """L_B of the method."""
    phase = run.config.minimax
    if run.method.privacy_term:
        return run.method.privacy_term(phase)
    if run.method.supervised:
        return Supervised(phase.supervised.objective)
    return Contrastive(phase.temperature, phase.privacy_loss_ceiling)


def _schedule(
    run: setup.Run, networks: dict[str, Network], per_epoch: int
) -> Callable[[int], Step]:
    """The cycle of steps, over and over; before that a warm-up of step 2 alone."""
    phase = run.config.minimax
    warmup = round(phase.warmup_epochs * per_epoch)
    cycle = make_cycle(run, networks)
    before = _restarts(run, networks) if run.method.supervised else lambda _: None

    def schedule(index: int) -> Step:
        if index < warmup:
            return cycle[1]
        updates, place = divmod(index - warmup, len(cycle))
        if place:
            return cycle[place]
        restart = before(updates)
        return (lambda state, batch: cycle[0](restart(state), batch)) if restart else cycle[0]

    return schedule


def _restarts(
    run: setup.Run, networks: dict[str, Network]
) -> Callable[[int], Callable[[TrainState], TrainState] | None]:
    """What comes before the given update of f_A: a member of f_B begins anew, or nothing.

    The members take turns: one that has just begun fools nobody, and the others keep watch.
    """
    section = run.config.minimax.supervised
    begin_anew = make_restart(
        networks["privacy"], image_shape=setup.image_shape(run), seed=run.seed(NAME, "restart")
    )
    restart = jax.jit(lambda state, member: constrain_split(begin_anew(state, member), run.mesh))

    def before(updates: int) -> Callable[[TrainState], TrainState] | None:
        if not section.restart_every or not updates or updates % section.restart_every:
            return None
        member = (updates // section.restart_every - 1) % section.ensemble
        return lambda state: restart(state, member)

    return before


def _sampler(
    run: setup.Run, networks: dict[str, Network], source: RecordSource
) -> Callable[[TrainState], None]:
    """Writes frames of a fixed batch, raw above anonymized, as samples/STEP.png."""
    size = run.mesh.size * _SAMPLES
    batch = next(iter(streams.clip_stream(run, source, size, name="samples", whole=True)))
    frames = np.asarray(batch["frames"])[:_SAMPLES, 0]  # [N, T, H, W, 3] -> [8, H, W, 3]
    draw = jax.jit(
        lambda nets: anonymize(networks, nets, to_float(frames)), out_shardings=replicated(run.mesh)
    )

    def sample(state: TrainState) -> None:
        anonymized = to_host(draw(state.nets))
        save_comparison(
            run.workdir / "samples" / f"{int(state.step):06d}.png", [frames, anonymized]
        )

    return sample
