"""The loop does not wait for the devices between two lines of metrics, and what steps take over."""

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from anon_jax.checkpoint import Checkpointer
from anon_jax.loop import Loop, fit
from anon_jax.sharding import compile_step, make_mesh
from anon_jax.state import Network, new_state
from anon_jax.steps import make_step, to_float
from anon_jax.writers import MetricWriter

STEPS = 12


class Slow(nn.Module):
    """One weight, and enough work that a step takes tens of milliseconds."""

    @nn.compact
    def __call__(self, x, *, train):
        work = jnp.broadcast_to(jnp.mean(x), (256, 256))
        work = jax.lax.fori_loop(0, 60, lambda _, y: jnp.tanh(y @ y), work)
        return nn.Dense(1, use_bias=False)(x) + 1e-6 * jnp.mean(work)


def make_network():
    return Network(Slow(), optax.with_extra_args_support(optax.sgd(0.1)))


def make_toy_step(network):
    def objective(state, batch, key):
        assert batch["image"].dtype == jnp.uint8  # a quarter of what floats would be to send
        output, stats = network.apply(
            state.nets["privacy"], to_float(batch["image"]), train=True, key=key
        )
        return jnp.mean(output), ({"privacy/loss": jnp.mean(output)}, {"privacy": stats})

    return compile_step(
        make_step({"privacy": network}, ("privacy",), objective, seed=0), make_mesh(1)
    )


class WatchedIterator(grain.DatasetIterator):
    """Notes at each batch that is drawn whether the devices are done with the step before it."""

    def __init__(self, parent, made, done):
        super().__init__(parent)
        self._made, self._done = made, done

    def __next__(self):
        if self._made:
            self._done.append(self._made[-1].is_ready())
        return next(self._parent)

    def get_state(self):
        return self._parent.get_state()

    def set_state(self, state):
        self._parent.set_state(state)


class Watched(grain.IterDataset):
    """A stream whose iterator is a `WatchedIterator`."""

    def __init__(self, parent, made, done):
        super().__init__(parent)
        self._made, self._done = made, done

    def __iter__(self):
        return WatchedIterator(iter(self._parent), self._made, self._done)


def test_batches_are_drawn_while_the_step_before_is_running(tmp_path):
    """One `float(metric)` in the loop, or any other wait, and each step is done at each draw.

    Not each draw need come in time, for another process may have the processor; one is enough.
    """
    network, made, done = make_network(), [], []
    compiled = make_toy_step(network)

    def step(state, batch):
        state, metrics = compiled(state, batch)
        made.append(metrics["privacy/loss"])
        return state, metrics

    records = grain.MapDataset.range(256).map(
        lambda i: {"image": np.full(3, i % 256, np.uint8), "index": np.int32(i)}
    )
    checkpointer = Checkpointer(tmp_path / "checkpoints")
    fit(
        new_state({"privacy": network.init(jax.random.key(0), (1, 3))}),
        lambda index: step,
        Watched(records.batch(4).to_iter_dataset(), made, done),
        loop=Loop("toy", num_steps=STEPS, log_every=STEPS, checkpoint_every=0),
        mesh=make_mesh(1),
        checkpointer=checkpointer,
        writer=MetricWriter(tmp_path / "metrics", "toy"),
    )
    checkpointer.close()
    assert len(done) == STEPS - 1
    assert not all(done)


def test_a_step_takes_over_the_memory_of_its_state():
    network, frozen = make_network(), Network(nn.Dense(1))
    nets = {"privacy": network.init(jax.random.key(0), (1, 3))}
    nets["anonymizer"] = nets["privacy"].replace(
        params=frozen.module.init(jax.random.key(1), jnp.zeros((1, 3))), opt_state=None
    )
    before = jax.device_put(new_state(nets), jax.devices()[0])
    after, _ = make_toy_step(network)(before, {"image": np.ones((2, 3), np.uint8)})
    # The multiplier and the frozen network come back as they went in, in the same memory.
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(after))
