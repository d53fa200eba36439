"""Phase "minimax": f_A against f_B, with f_T; steps 1 and 2 in turn on successive batches."""

from collections.abc import Callable, Mapping

import grain
import numpy as np

from anon_jax.minimax_steps import (
    Penalty,
    Weights,
    make_adversary_step,
    make_anonymizer_step,
)
from anon_jax.phases import modules, pretrain_privacy, reconstruct, setup
from anon_jax.sharding import compile_step, to_host
from anon_jax.state import Network, TrainState, new_state
from anon_jax.steps import Step, anonymize, to_float
from anon_jax.writers import save_comparison
from input_pipeline.loader import zip_streams
from input_pipeline.records import RecordSource

NAME = "minimax"
_SAMPLES = 8  # frames in a picture of samples/


def run(run: setup.Run) -> None:
    """Trains the three networks (arXiv 2504.14301, Sec. 3) and leaves their checkpoint.

    f_A comes from "reconstruct", f_B from "pretrain_privacy", f_T is new. A method that learns no
    anonymizer has nothing to do here.
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
        "image": RecordSource(run.datasets.images, "train"),
    }


def make_stream(run: setup.Run, sources: Mapping[str, RecordSource]) -> grain.IterDataset:
    """Batches of clips and of image pairs: {"clip": ..., "image": ...}."""
    phase = run.config.minimax
    return zip_streams(
        {
            "clip": setup.clip_stream(run, sources["clip"], phase.batch_clips, name=NAME),
            "image": setup.image_stream(
                run, sources["image"], phase.batch_images, name=NAME, views=2
            ),
        }
    )


def make_networks(run: setup.Run, num_steps: int, per_epoch: int) -> dict[str, Network]:
    """f_A, f_T and f_B, each with its own optimizer chain."""
    phase = run.config.minimax
    parts = {
        "anonymizer": modules.anonymizer(run.config),
        "action": modules.action(run.config, len(run.datasets.videos.actions)),
        "privacy": modules.privacy(run.config),
    }
    return {
        name: Network(module, setup.optimizer(phase[f"{name}_optimizer"], num_steps, per_epoch))
        for name, module in parts.items()
    }


def _initial_state(run: setup.Run, networks: dict[str, Network]) -> TrainState:
    trained = {"anonymizer": reconstruct.NAME, "privacy": pretrain_privacy.NAME}
    nets = {
        name: networks[name].with_optimizer(setup.load_net(run, phase, name, networks[name]))
        for name, phase in trained.items()
    }
    nets["action"] = setup.fresh_net(run, NAME, "action", networks["action"])
    return new_state(nets, multiplier=run.config.minimax.weights.penalty)


def make_steps(run: setup.Run, networks: dict[str, Network]) -> tuple[Step, Step]:
    """Compiled: step 1, which updates f_A, and step 2, which updates f_T and f_B."""
    phase = run.config.minimax
    weights = Weights(**phase.weights)
    if not run.method.penalty:
        weights = Weights(weights.action, weights.privacy, 0.0)
    anonymizer_step = make_anonymizer_step(
        networks,
        weights=weights,
        penalty=Penalty(**phase.penalty),
        temperature=phase.temperature,
        ceiling=phase.privacy_loss_ceiling,
        seed=run.seed(NAME),
    )
    adversary_step = make_adversary_step(
        networks, temperature=phase.temperature, seed=run.seed(NAME)
    )
    return compile_step(anonymizer_step, run.mesh), compile_step(adversary_step, run.mesh)


def _schedule(
    run: setup.Run, networks: dict[str, Network], per_epoch: int
) -> Callable[[int], Step]:
    """Step 2 alone during the warm-up; then step 1 and `adversary_steps` times step 2 in turn."""
    warmup = round(run.config.minimax.warmup_epochs * per_epoch)
    cycle = 1 + run.config.minimax.adversary_steps
    step_1, step_2 = make_steps(run, networks)
    return lambda index: step_1 if index >= warmup and (index - warmup) % cycle == 0 else step_2


def _sampler(
    run: setup.Run, networks: dict[str, Network], source: RecordSource
) -> Callable[[TrainState], None]:
    """Writes frames of a fixed batch, raw above anonymized, as samples/STEP.png."""
    batch = next(iter(setup.clip_stream(run, source, run.mesh.size * _SAMPLES, name="samples")))
    frames = np.asarray(batch["frames"])[:_SAMPLES, 0]  # [N, T, H, W, 3] -> [8, H, W, 3]

    def sample(state: TrainState) -> None:
        anonymized = to_host(anonymize(networks, state.nets, to_float(frames)))
        save_comparison(
            run.workdir / "samples" / f"{int(state.step):06d}.png", [frames, anonymized]
        )

    return sample
