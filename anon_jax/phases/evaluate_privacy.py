"""Phase "evaluate_privacy": how much a fresh classifier reads of the private attributes."""

from collections.abc import Callable

import numpy as np

from anon_jax import metrics
from anon_jax.errors import ConfigError
from anon_jax.evaluation import make_attribute_predictor, predict_split, split_probabilities
from anon_jax.phases import minimax, setup
from anon_jax.results import write_result
from anon_jax.sharding import compile_step
from anon_jax.state import Network, TrainState, new_state
from anon_jax.steps import make_attribute_step
from input_pipeline.loader import evaluation_batches
from input_pipeline.records import RecordSource
from input_pipeline.specs import DatasetSpec
from input_pipeline.transforms import EvaluationImage

NAME = "evaluate_privacy"
SOURCES = ("images", "videos")

# (state, split) -> probabilities [records, attributes] and labels of the same shape
Tester = Callable[[TrainState, str], tuple[np.ndarray, np.ndarray]]


def run(run: setup.Run) -> None:
    """Trains and tests one classifier per evaluated method, all with the same budget and seed."""
    spec = attribute_spec(run)
    for method in run.evaluated:
        _evaluate(run, method, spec)


def attribute_spec(run: setup.Run) -> DatasetSpec:
    """The dataset whose attributes are attacked.

    Raises:
      ConfigError: an unknown source, or a dataset without attributes.
    """
    source = run.config.evaluate_privacy.source
    if source not in SOURCES:
        raise ConfigError(
            f"config.evaluate_privacy.source is '{source}'; known: {', '.join(SOURCES)}"
        )
    spec = run.images if source == "images" else run.videos
    if not spec.attributes:
        raise ConfigError(
            f"config.evaluate_privacy.source is '{source}', but '{spec.name}' has no attributes; "
            "build it with --attributes=..., take another source, or leave the phase "
            f"'{NAME}' out of config.phases"
        )
    return spec


def _evaluate(run: setup.Run, method: str, spec: DatasetSpec) -> None:
    """The best epoch on validation is tested: sigmoid averaged over the frames of a video."""
    phase = run.config.evaluate_privacy
    source = RecordSource(spec, "train")
    per_epoch = setup.steps_per_epoch(source, phase.batch_size)
    num_steps = round(phase.epochs * per_epoch)
    tx = setup.optimizer(phase.optimizer, num_steps, per_epoch)
    networks = {"privacy": Network(setup.privacy_module(run, len(spec.attributes)), tx)}
    nets = {"privacy": setup.fresh_net(run, NAME, "privacy", networks["privacy"])}
    if setup.is_learned(method):
        networks["anonymizer"] = Network(setup.anonymizer_module(run))
        nets["anonymizer"] = setup.load_net(run, minimax.NAME, "anonymizer", networks["anonymizer"])
    compiled = compile_step(make_attribute_step(networks, seed=run.seed(NAME)), run.mesh)
    test = _tester(run, networks, spec)
    best = setup.fit_phase(
        run,
        f"{NAME}/{method}",
        new_state(nets),
        lambda _: compiled,
        setup.image_stream(run, source, phase.batch_size, name=NAME, views=1),
        num_steps=num_steps,
        checkpoint_every=round(phase.validate_every * per_epoch),
        validate=lambda state: metrics.cmap(*test(state, "validation")),
        sources={"image": source},
        return_best=True,
    )
    thresholds = metrics.tune_thresholds(*test(best, "validation"))
    report = metrics.privacy_report(
        *test(best, spec.test_split), spec.attributes, thresholds=thresholds
    )
    report |= {"split": spec.test_split, "steps": num_steps, "best_step": int(best.step)}
    write_result(run.workdir, method, "privacy", report)


def _tester(run: setup.Run, networks: dict[str, Network], spec: DatasetSpec) -> Tester:
    data, phase = run.config.data, run.config.evaluate_privacy
    predict = make_attribute_predictor(networks)

    def test(state: TrainState, split: str) -> tuple[np.ndarray, np.ndarray]:
        batches = evaluation_batches(
            RecordSource(spec, split),
            EvaluationImage(data.resolution, data.test_crop_scale),
            views=phase.test_frames if spec.kind == "video" else 1,
            batch_size=phase.batch_size,
            num_threads=data.num_threads,
            prefetch=data.prefetch,
        )
        return split_probabilities(
            *predict_split(predict, state, batches, run.mesh, label="attributes")
        )

    return test
