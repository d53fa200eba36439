"""Phase "evaluate_action": how well a fresh f_T reads the action, raw and anonymized."""

from collections.abc import Callable
from typing import Any

import numpy as np

from anon_jax import distributed, metric_reports, metrics
from anon_jax.evaluation import make_action_predictor, predict_split
from anon_jax.phases import modules, pretrained, setup, streams
from anon_jax.phases.attackers import new_attacker, train_attacker
from anon_jax.phases.datasets import make_obfuscator
from anon_jax.results import has_result, write_result
from anon_jax.state import TrainState
from anon_jax.steps import Networks, make_action_step
from input_pipeline.index import read_index
from input_pipeline.loader import evaluation_batches
from input_pipeline.obfuscation import Obfuscator
from input_pipeline.records import RecordSource

NAME = "evaluate_action"


def run(run: setup.Run) -> None:
    """Trains and tests one classifier for each evaluated method that has no result yet.

    Each starts from `config.init_from.action` where that is given: Kinetics weights in the paper
    (arXiv 2504.14301, Sec. 4).
    """
    for method in run.evaluated:
        if not has_result(run.workdir, method, "action"):
            write_result(run.workdir, method, "action", _evaluate(run, method))


def _evaluate(run: setup.Run, method: str) -> dict[str, Any]:
    """Top-1 of the best epoch on validation; softmax averaged over the clips and crops of a video.

    Validation sees the centre crop of the clip in the middle.
    """
    section = run.config.evaluate_action
    spec = run.datasets.attack_videos
    source = RecordSource(spec, "train")
    module = modules.action(
        run.config, len(spec.actions), freeze_batch_norm=section.freeze_batch_norm
    )
    networks, state = new_attacker(
        run, method, phase=NAME, name="action", module=module, source=source
    )
    net = pretrained.begin(run.config, "action", networks["action"], state.nets["action"], run.mesh)
    state = state.replace(nets={**state.nets, "action": net})
    obfuscator = make_obfuscator(run.config, method, spec)
    test = _tester(run, networks, obfuscator)
    best = train_attacker(
        run,
        method,
        state,
        make_action_step(
            networks,
            label_smoothing=section.label_smoothing,
            seed=run.seed(NAME),
            accumulate=section.accumulate,
        ),
        streams.clip_stream(run, source, section.batch_size, name=NAME, obfuscator=obfuscator),
        phase=NAME,
        source=source,
        score=lambda state: metrics.top1(*test(state, "validation", 1, 1)),
    )
    data, split = run.config.data, spec.test_split
    report = metric_reports.action_report(
        *test(best, split, data.test_clips, data.test_crops),
        groups=[row.group for row in read_index(spec, split)],
    )
    num_steps, _ = setup.length(section, source)
    facts = {"split": split, "steps": num_steps, "best_step": int(best.step)}
    return {**report, **facts, **obfuscator.facts()}


def _tester(
    run: setup.Run, networks: Networks, obfuscator: Obfuscator
) -> Callable[[TrainState, str, int, int], tuple[np.ndarray, np.ndarray]]:
    """(state, split, clips of a video, crops of a clip) -> probabilities [V, K] and labels [V].

    In the order of the records.
    """
    data = run.config.data
    predict = make_action_predictor(networks)
    transform = streams.evaluation_clip(run, obfuscator)

    def test(
        state: TrainState, split: str, clips: int, crops: int
    ) -> tuple[np.ndarray, np.ndarray]:
        batches = evaluation_batches(
            RecordSource(run.datasets.attack_videos, split),
            transform,
            views=clips,
            crops=crops,
            num_threads=data.num_threads,
            prefetch=data.prefetch,
            **distributed.share(run.config.evaluate_action.batch_size),
        )
        outputs, labels, indices = predict_split(predict, state, batches, run.mesh, label="action")
        probabilities, _ = metric_reports.average_by_group(outputs.astype(np.float64), indices)
        return probabilities, metric_reports.labels_by_group(labels, indices)

    return test
