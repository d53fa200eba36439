"""How several processes leave the training at the same step when a signal reaches one of them."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from anon_jax import distributed, interruption
from anon_jax.sharding import replicated, shard_batch

# Steps between a vote and its count, so that nobody waits for the devices: by then it is known.
_DELAY = 2


class LeaveVotes:
    """Whether a signal has asked any process to leave, said to all of them at the same step.

    In each step each process votes, and the devices take the votes together (one all-reduce of a
    boolean a device) in the order of the steps; the vote of a step counts `_DELAY` steps later. A
    process alone asks nobody.
    """

    def __init__(self, mesh: Mesh):
        self._mesh = mesh
        self._any = jax.jit(jnp.any, out_shardings=replicated(mesh))
        self._votes: deque[jax.Array] = deque()

    def requested(self) -> bool:
        """To be called before each step, by all processes."""
        if distributed.count() == 1:
            return interruption.requested()
        self._vote()
        return len(self._votes) > _DELAY and bool(self._votes.popleft())

    def requested_by_now(self) -> bool:
        """To be called after the last step: counts what is still out."""
        if distributed.count() == 1:
            return interruption.requested()
        self._vote()
        out, self._votes = list(self._votes), deque()
        return any(map(bool, out))

    def _vote(self) -> None:
        own = self._mesh.size // distributed.count()
        votes = shard_batch(np.full(own, interruption.requested()), self._mesh)
        self._votes.append(self._any(votes))
