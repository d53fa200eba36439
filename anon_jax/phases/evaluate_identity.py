"""Phase "evaluate_identity": who is in a clip, among people that were not seen in training."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from anon_jax import distributed
from anon_jax.evaluation import Predict, predict_split
from anon_jax.metric_reports import average_by_group
from anon_jax.phases import modules, setup, streams
from anon_jax.phases.attackers import new_attacker, train_attacker
from anon_jax.phases.datasets import make_obfuscator
from anon_jax.results import has_result, write_result
from anon_jax.retrieval import Retrieval, retrieve
from anon_jax.state import TrainState
from anon_jax.steps import Networks, anonymize, make_identity_step, to_float
from input_pipeline.index import read_index
from input_pipeline.loader import evaluation_batches
from input_pipeline.obfuscation import Obfuscator
from input_pipeline.records import RecordSource
from input_pipeline.specs import DatasetSpec
from input_pipeline.transforms import EvaluationImage

NAME = "evaluate_identity"


def run(run: setup.Run) -> None:
    """Trains and tests one network for each evaluated method that has no result yet."""
    for method in run.evaluated:
        if not has_result(run.workdir, method, "identity"):
            write_result(run.workdir, method, "identity", _evaluate(run, method))


def _evaluate(run: setup.Run, method: str) -> dict[str, Any]:
    """What is found by the pooled features of the best epoch on the people of validation.

    The network learns to tell the people (groups) of the training videos apart, from single frames;
    the features of several frames of a test video are averaged.
    """
    section, network = run.config[NAME], run.config.networks.privacy
    spec = run.datasets.attack_videos
    source = RecordSource(spec, "train")
    people, classes = np.unique(_people(spec, "train"), return_inverse=True)
    networks, state = new_attacker(
        run,
        method,
        phase=NAME,
        name="privacy",
        module=modules.attributes(run.config, network, len(people)),
        source=source,
    )
    obfuscator = make_obfuscator(run.config, method, spec)
    test = _tester(run, networks, spec, obfuscator)
    best = train_attacker(
        run,
        method,
        state,
        make_identity_step(
            networks,
            classes.astype(np.int32),
            seed=run.seed(NAME),
            accumulate=section.accumulate,
        ),
        streams.image_stream(
            run, source, section.batch_size, name=NAME, views=1, obfuscator=obfuscator
        ),
        phase=NAME,
        source=source,
        score=lambda state: test(state, "validation").mean_ap,
    )
    found = dataclasses.asdict(test(best, spec.test_split))
    found["map"] = found.pop("mean_ap")
    num_steps, _ = setup.length(section, source)
    facts = {
        "num_people": len(set(_people(spec, spec.test_split))),
        "network": network,
        "steps": num_steps,
        "best_step": int(best.step),
        "split": spec.test_split,
    }
    return {**found, **facts, **obfuscator.facts()}


def make_embedder(networks: Networks) -> Predict:
    """batch["image"] uint8 [B, H, W, 3] -> pooled features [B, F] of the anonymized image."""

    def predict(state: TrainState, batch: Any) -> jax.Array:
        images = anonymize(networks, state.nets, to_float(batch["image"]))
        (_, out), _ = networks["privacy"].apply(state.nets["privacy"], images)
        return out["features"]

    return jax.jit(predict)


def _tester(
    run: setup.Run, networks: Networks, spec: DatasetSpec, obfuscator: Obfuscator
) -> Callable[[TrainState, str], Retrieval]:
    """(state, split) -> each video searched for among the others of the split."""
    data, section = run.config.data, run.config[NAME]
    predict = make_embedder(networks)
    transform = EvaluationImage(data.resolution, data.test_crop_scale, obfuscator)

    def test(state: TrainState, split: str) -> Retrieval:
        batches = evaluation_batches(
            RecordSource(spec, split),
            transform,
            views=section.test_frames,
            num_threads=data.num_threads,
            prefetch=data.prefetch,
            **distributed.share(section.batch_size),
        )
        features, _, indices = predict_split(predict, state, batches, run.mesh, label="index")
        embeddings, records = average_by_group(features, indices)
        people = _people(spec, split)
        ids = [str(record) for record in records]
        return retrieve(embeddings, [people[record] for record in records], ids)

    return test


def _people(spec: DatasetSpec, split: str) -> list[str]:
    """Who is in each record of a split, in the records' order."""
    return [row.group for row in read_index(spec, split)]
