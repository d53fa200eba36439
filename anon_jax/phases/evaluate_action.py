"""Phase "evaluate_action": how well a fresh f_T reads the action, raw and anonymized."""

from collections.abc import Callable
from typing import Any

import numpy as np

from anon_jax import metrics
from anon_jax.evaluation import make_action_predictor, predict_split
from anon_jax.phases import minimax, setup
from anon_jax.results import write_result
from anon_jax.sharding import compile_step
from anon_jax.state import Network, TrainState, new_state
from anon_jax.steps import make_action_step
from input_pipeline.loader import evaluation_batches
from input_pipeline.records import RecordSource
from input_pipeline.transforms import EvaluationClip

NAME = "evaluate_action"


def run(run: setup.Run) -> None:
    """Trains and tests one classifier per evaluated method, all with the same budget and seed."""
    for method in run.evaluated:
        _evaluate(run, method)


def _evaluate(run: setup.Run, method: str) -> None:
    """The best epoch on validation is tested: softmax averaged over evenly spaced clips."""
    phase = run.config.evaluate_action
    source = RecordSource(run.videos, "train")
    per_epoch = setup.steps_per_epoch(source, phase.batch_size)
    num_steps = round(phase.epochs * per_epoch)
    tx = setup.optimizer(phase.optimizer, num_steps, per_epoch)
    module = setup.action_module(run, freeze_batch_norm=phase.freeze_batch_norm)
    networks = {"action": Network(module, tx)}
    nets = {"action": setup.fresh_net(run, NAME, "action", networks["action"])}
    if setup.is_learned(method):
        networks["anonymizer"] = Network(setup.anonymizer_module(run))
        nets["anonymizer"] = setup.load_net(run, minimax.NAME, "anonymizer", networks["anonymizer"])
    step = make_action_step(networks, label_smoothing=phase.label_smoothing, seed=run.seed(NAME))
    compiled = compile_step(step, run.mesh)
    test = _tester(run, networks)
    best = setup.fit_phase(
        run,
        f"{NAME}/{method}",
        new_state(nets),
        lambda _: compiled,
        setup.clip_stream(run, source, phase.batch_size, name=NAME),
        num_steps=num_steps,
        checkpoint_every=round(phase.validate_every * per_epoch),
        validate=lambda state: test(state, "validation", 1)["top1"],
        sources={"clip": source},
        return_best=True,
    )
    split = run.videos.test_split
    report = test(best, split, run.config.data.test_clips)
    report |= {"split": split, "steps": num_steps, "best_step": int(best.step)}
    write_result(run.workdir, method, "action", report)


def _tester(
    run: setup.Run, networks: dict[str, Network]
) -> Callable[[TrainState, str, int], dict[str, Any]]:
    data = run.config.data
    predict = make_action_predictor(networks)

    def test(state: TrainState, split: str, views: int) -> dict[str, Any]:
        batches = evaluation_batches(
            RecordSource(run.videos, split),
            EvaluationClip(
                data.num_frames, data.frame_stride, data.resolution, data.test_crop_scale
            ),
            views=views,
            batch_size=run.config.evaluate_action.batch_size,
            num_threads=data.num_threads,
            prefetch=data.prefetch,
        )
        outputs, labels, indices = predict_split(predict, state, batches, run.mesh, label="action")
        probabilities, _ = metrics.average_by_group(outputs.astype(np.float64), indices)
        return metrics.action_report(probabilities, metrics.labels_by_group(labels, indices))

    return test
