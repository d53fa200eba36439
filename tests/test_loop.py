"""fit(): resuming changes nothing, bad losses stop it, the best checkpoint is found."""

import functools
import json
import multiprocessing

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from anon_jax.checkpoint import Checkpointer
from anon_jax.errors import NonFiniteLossError, WorkdirError
from anon_jax.loop import Loop, fit
from anon_jax.sharding import compile_step, make_mesh, replicated
from anon_jax.state import Network, new_state
from anon_jax.steps import make_step
from anon_jax.writers import MetricWriter, read_metrics
from input_pipeline.errors import DataError
from input_pipeline.loader import with_workers

POISON = 17  # the record whose value is NaN in `stream(poisoned=True)`


class Linear(nn.Module):
    """The smallest network that has dropout."""

    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(1)(nn.Dropout(0.5, deterministic=not train)(x))


@functools.cache
def network():
    return Network(Linear(), optax.with_extra_args_support(optax.adam(1e-2)))


def initial():
    return new_state({"privacy": network().init(jax.random.key(0), (1, 3))})


@functools.cache
def schedule(devices=1):
    def objective(state, batch, key):
        output, stats = network().apply(state.nets["privacy"], batch["image"], train=True, key=key)
        loss = jnp.mean((output[:, 0] - batch["target"]) ** 2)
        return loss, ({"privacy/loss": loss}, {"privacy": stats})

    step = make_step({"privacy": network()}, ("privacy",), objective, seed=4)
    compiled = compile_step(step, make_mesh(devices))
    return lambda index: compiled


def stream(poisoned=False):
    values = np.random.default_rng(2).normal(size=(40, 3)).astype(np.float32)

    def element(index):
        target = np.float32(np.nan if poisoned and index == POISON else values[index].sum())
        return {"image": values[index], "target": target, "index": np.int32(index)}

    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    records = grain.MapDataset.range(40).seed(3).shuffle().repeat().map(element)
    return records.batch(8).to_iter_dataset(options)


def train(directory, num_steps, *, devices=1, poisoned=False, num_workers=0, **options):
    loop = Loop(
        **{"name": "toy", "num_steps": num_steps, "log_every": 3, "checkpoint_every": 5, **options}
    )
    checkpointer = Checkpointer(directory / "checkpoints", scored="validate" in options)
    return fit(
        initial(),
        schedule(devices),
        with_workers(stream(poisoned), num_workers),
        loop=loop,
        mesh=make_mesh(devices),
        checkpointer=checkpointer,
        writer=MetricWriter(directory / "metrics", "toy"),
    ), checkpointer


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def test_resuming_equals_not_stopping_bit_for_bit(tmp_path):
    whole, _ = train(tmp_path / "whole", 23)
    for target in (7, 7, 16, 23):  # 7 and 16 are no checkpoint steps of the schedule
        stopped, checkpointer = train(tmp_path / "stopped", target)
        checkpointer.close()
    assert all(map(np.array_equal, leaves(whole), leaves(stopped)))
    last = [
        read_metrics(tmp_path / name / "metrics" / "toy.jsonl")[-1] for name in ("whole", "stopped")
    ]
    assert last[0]["step"] == last[1]["step"] == 23


def test_another_number_of_workers_cannot_resume(tmp_path):
    train(tmp_path, 5)[1].close()
    with pytest.raises(DataError, match=r"saved with 0 .*config\.data\.num_workers is 2 now"):
        train(tmp_path, 10, num_workers=2)


def test_workers_end_with_the_training_even_after_an_error(tmp_path):
    train(tmp_path / "good", 2, num_workers=1)
    with pytest.raises(NonFiniteLossError):
        train(tmp_path / "bad", 40, poisoned=True, num_workers=1)
    assert multiprocessing.active_children() == []


def test_metrics_beyond_the_checkpoint_are_rewritten(tmp_path):
    train(tmp_path, 10)[1].close()
    path = tmp_path / "metrics" / "toy.jsonl"
    expected = path.read_text()
    path.write_text(expected + json.dumps({"step": 12, "privacy/loss": 9.0}) + "\n")
    train(tmp_path, 10)[1].close()
    assert path.read_text() == expected


def test_a_nan_loss_names_step_phase_and_records_and_keeps_the_checkpoint(tmp_path):
    with pytest.raises(NonFiniteLossError) as caught:
        train(tmp_path, 40, poisoned=True, checkpoint_every=1, name_records=lambda i: f"IDS {i}")
    step = next(
        number for number, batch in enumerate(stream(), start=1) if POISON in batch["index"]
    )
    message = str(caught.value)
    assert f"at step {step} of phase toy" in message
    assert "IDS" in message
    assert str(POISON) in message.partition("IDS")[2]
    kept = Checkpointer(tmp_path / "checkpoints")
    assert (kept.latest_step() or 0) == step - 1
    if step > 1:
        assert f"step {step - 1} is kept in" in message


def test_the_best_checkpoint_is_kept_beside_the_latest(tmp_path):
    scores = {5: 0.2, 10: 0.9, 15: 0.1, 20: 0.5}
    last, checkpointer = train(tmp_path, 20, validate=lambda state: scores[int(state.step)])
    best = checkpointer.restore_best(last)
    assert int(best.step) == 10
    assert checkpointer.latest_step() == 20
    names = {path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()}
    assert names == {"10", "15", "20"}  # the best, the latest, and the one before it


def test_one_network_is_restored_without_its_optimizer(tmp_path):
    last, checkpointer = train(tmp_path, 5)
    checkpointer.close()
    like, sharding = network().abstract((1, 3)), replicated(make_mesh(1))
    net = Checkpointer(tmp_path / "checkpoints").restore_net("privacy", like, sharding)
    assert net.opt_state is None
    assert all(map(np.array_equal, leaves(net.params), leaves(last.nets["privacy"].params)))
    with pytest.raises(WorkdirError, match=r"no checkpoint in .*config\.phases"):
        Checkpointer(tmp_path / "other").restore_net("privacy", like, sharding)


def test_no_steps_leave_the_initial_state_as_checkpoint(tmp_path):
    state, checkpointer = train(tmp_path, 0)
    assert int(state.step) == 0
    assert checkpointer.latest_step() == 0


def test_eight_devices_equal_one_and_restore_each_other(tmp_path):
    one, _ = train(tmp_path / "one", 12)
    train(tmp_path / "mixed", 5, devices=8)[1].close()
    mixed, _ = train(tmp_path / "mixed", 12)
    for ours, theirs in zip(leaves(one), leaves(mixed), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)  # order of float32 sums
