"""Phase "evaluate_privacy": how much fresh classifiers read of the private attributes."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from anon_jax import metrics
from anon_jax.evaluation import make_attribute_predictor, predict_split, split_probabilities
from anon_jax.metric_reports import privacy_report
from anon_jax.phases import modules, setup
from anon_jax.phases.attackers import new_attacker, train_attacker
from anon_jax.phases.datasets import attribute_spec, make_obfuscator
from anon_jax.results import has_result, read_result, write_result
from anon_jax.state import TrainState
from anon_jax.steps import Networks, make_attribute_step
from input_pipeline.loader import evaluation_batches
from input_pipeline.obfuscation import Obfuscator
from input_pipeline.records import RecordSource
from input_pipeline.specs import DatasetSpec
from input_pipeline.transforms import EvaluationImage

NAME = "evaluate_privacy"
_COMPARED = ("cmap", "auroc", "f1", "f1_tuned", "best_step")  # of the attackers beside each other


@dataclasses.dataclass(frozen=True)
class Attacker:
    """One of those that attack a method.

    Attributes:
      network: row of MODELS; an I3D sees whole clips, a ResNet frames.
      seed: of its initial parameters and of the order of its data.
      label: tells it from the first one, whose files carry the method's name alone.
    """

    network: str
    seed: int
    label: str

    @property
    def name(self) -> str:
        """As results and reports call it."""
        return f"{self.network}-seed{self.seed}"


def attackers(run: setup.Run) -> list[Attacker]:
    """All that attack each method, with equal budgets (VITA's protocol: the strongest counts)."""
    section = run.config.evaluate_privacy
    names = section.networks or (run.config.networks.privacy,)
    pairs = [(network, seed) for network in names for seed in range(section.seeds)]
    return [
        Attacker(network, seed, f"-{network}-seed{seed}" if index else "")
        for index, (network, seed) in enumerate(pairs)
    ]


def run(run: setup.Run) -> None:
    """Trains and tests the attackers of each evaluated method that have no result yet."""
    spec = attribute_spec(run.config, run.datasets)
    for method in run.evaluated:
        if not has_result(run.workdir, method, "privacy"):
            write_result(run.workdir, method, "privacy", _evaluate(run, method, spec))


def _evaluate(run: setup.Run, method: str, spec: DatasetSpec) -> dict[str, Any]:
    """The report of the strongest attacker, and the main figures of all."""
    reports = {}
    for attacker in attackers(run):
        kept = f"attackers/{attacker.name}"
        if not has_result(run.workdir, method, kept):
            write_result(run.workdir, method, kept, _attack(run, method, spec, attacker))
        reports[attacker.name] = read_result(run.workdir, method, kept)
    strongest = max(reports, key=lambda name: reports[name]["cmap"])
    compared = {
        name: {key: report[key] for key in _COMPARED if key in report}
        for name, report in reports.items()
    }
    return {**reports[strongest], "attacker": strongest, "attackers": compared}


def _attack(run: setup.Run, method: str, spec: DatasetSpec, attacker: Attacker) -> dict[str, Any]:
    """What the best epoch on validation reads; sigmoid averaged over the views of a record."""
    section, clips = run.config.evaluate_privacy, modules.sees_clips(attacker.network)
    source = RecordSource(spec, "train")
    networks, state = new_attacker(
        run,
        method,
        phase=NAME,
        name="privacy",
        module=modules.attributes(run.config, attacker.network, len(spec.attributes)),
        source=source,
        seed=attacker.seed,
        clips=clips,
    )
    obfuscator = make_obfuscator(run.config, method, spec)
    test = _tester(run, networks, spec, obfuscator, clips)
    purpose = f"{NAME}/{attacker.seed}" if attacker.seed else NAME
    stream = (
        setup.clip_stream(run, source, section.batch_size, name=purpose, obfuscator=obfuscator)
        if clips
        else setup.image_stream(
            run, source, section.batch_size, name=purpose, views=1, obfuscator=obfuscator
        )
    )
    best = train_attacker(
        run,
        method,
        state,
        make_attribute_step(networks, frames=_frames(clips), seed=run.seed(purpose)),
        stream,
        phase=NAME,
        label=attacker.label,
        source=source,
        score=lambda state: metrics.cmap(*test(state, "validation")),
    )
    thresholds = metrics.tune_thresholds(*test(best, "validation"))
    split = spec.test_split
    report = privacy_report(*test(best, split), spec.attributes, thresholds=thresholds)
    num_steps, _ = setup.length(section, source)
    facts = {"split": split, "steps": num_steps, "best_step": int(best.step)}
    return {**report, **facts, **obfuscator.facts()}


def _frames(clips: bool) -> str:
    """The entry of a batch that an attacker sees."""
    return "frames" if clips else "image"


def _tester(
    run: setup.Run, networks: Networks, spec: DatasetSpec, obfuscator: Obfuscator, clips: bool
) -> Callable[[TrainState, str], tuple[np.ndarray, np.ndarray]]:
    """(state, split) -> probabilities and labels, both [records, attributes]."""
    data, section = run.config.data, run.config.evaluate_privacy
    predict = make_attribute_predictor(networks, _frames(clips))
    transform = (
        setup.evaluation_clip(run, obfuscator)
        if clips
        else EvaluationImage(data.resolution, data.test_crop_scale, obfuscator)
    )
    views = data.test_clips if clips else section.test_frames

    def test(state: TrainState, split: str) -> tuple[np.ndarray, np.ndarray]:
        batches = evaluation_batches(
            RecordSource(spec, split),
            transform,
            views=views if spec.kind == "video" else 1,
            batch_size=section.batch_size,
            num_threads=data.num_threads,
            prefetch=data.prefetch,
        )
        outputs = predict_split(predict, state, batches, run.mesh, label="attributes")
        return split_probabilities(*outputs)

    return test
