"""Phase "evaluate_privacy": how much a fresh classifier reads of the private attributes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from anon_jax import metrics
from anon_jax.evaluation import make_attribute_predictor, predict_split, split_probabilities
from anon_jax.metric_reports import privacy_report
from anon_jax.phases import setup
from anon_jax.phases.attackers import new_attacker, train_attacker
from anon_jax.phases.datasets import attribute_spec, make_obfuscator
from anon_jax.results import has_result, write_result
from anon_jax.state import TrainState
from anon_jax.steps import Networks, make_attribute_step
from input_pipeline.loader import evaluation_batches
from input_pipeline.obfuscation import Obfuscator
from input_pipeline.records import RecordSource
from input_pipeline.specs import DatasetSpec
from input_pipeline.transforms import EvaluationImage

NAME = "evaluate_privacy"


def run(run: setup.Run) -> None:
    """Trains and tests one classifier for each evaluated method that has no result yet."""
    spec = attribute_spec(run.config, run.datasets)
    for method in run.evaluated:
        if not has_result(run.workdir, method, "privacy"):
            write_result(run.workdir, method, "privacy", _evaluate(run, method, spec))


def _evaluate(run: setup.Run, method: str, spec: DatasetSpec) -> dict[str, Any]:
    """What the best epoch on validation reads; sigmoid averaged over the frames of a video."""
    section = run.config.evaluate_privacy
    source = RecordSource(spec, "train")
    networks, state = new_attacker(
        run,
        method,
        phase=NAME,
        name="privacy",
        module=setup.privacy_module(run, len(spec.attributes)),
        source=source,
    )
    obfuscator = make_obfuscator(run.config, method, spec)
    test = _tester(run, networks, spec, obfuscator)
    best = train_attacker(
        run,
        method,
        state,
        make_attribute_step(networks, seed=run.seed(NAME)),
        setup.image_stream(
            run, source, section.batch_size, name=NAME, views=1, obfuscator=obfuscator
        ),
        phase=NAME,
        source=source,
        score=lambda state: metrics.cmap(*test(state, "validation")),
    )
    thresholds = metrics.tune_thresholds(*test(best, "validation"))
    split = spec.test_split
    report = privacy_report(*test(best, split), spec.attributes, thresholds=thresholds)
    num_steps, _ = setup.length(section, source)
    facts = {"split": split, "steps": num_steps, "best_step": int(best.step)}
    return {**report, **facts, **obfuscator.facts()}


def _tester(
    run: setup.Run, networks: Networks, spec: DatasetSpec, obfuscator: Obfuscator
) -> Callable[[TrainState, str], tuple[np.ndarray, np.ndarray]]:
    """(state, split) -> probabilities and labels, both [records, attributes]."""
    data, section = run.config.data, run.config.evaluate_privacy
    predict = make_attribute_predictor(networks)
    transform = EvaluationImage(data.resolution, data.test_crop_scale, obfuscator)

    def test(state: TrainState, split: str) -> tuple[np.ndarray, np.ndarray]:
        batches = evaluation_batches(
            RecordSource(spec, split),
            transform,
            views=section.test_frames if spec.kind == "video" else 1,
            batch_size=section.batch_size,
            num_threads=data.num_threads,
            prefetch=data.prefetch,
        )
        outputs = predict_split(predict, state, batches, run.mesh, label="attributes")
        return split_probabilities(*outputs)

    return test
