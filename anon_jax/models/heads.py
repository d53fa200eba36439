"""What stands on the pooled features: linear logits, or a projection onto the unit sphere."""

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

# torch's nn.Linear draws weights from U(-1, 1) / sqrt(fan_in), a variance of 1 / (3 fan_in).
torch_linear = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def l2_normalize(x: Float[Array, "*batch dim"], eps: float = 1e-6) -> Float[Array, "*batch dim"]:
    """Divide by the L2 norm over the last axis.

    A vector no longer than `eps` has no direction: it becomes zero, and so does its gradient.
    """
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    long_enough = square > eps**2
    # The inner where keeps the reciprocal root finite, so that its gradient is never 0 * inf.
    scale = lax.rsqrt(jnp.where(long_enough, square, 1.0))
    return jnp.where(long_enough, x * scale, 0.0)


class LinearHead(nn.Module):
    """Dropout (in training), then logits; in float32."""

    num_outputs: int
    dropout_rate: float = 0.0

    @nn.compact
    def __call__(
        self, features: Float[Array, "batch dim"], *, train: bool
    ) -> Float[Array, "batch num_outputs"]:
        """Return logits; with `train` and a dropout rate the rng "dropout" is needed."""
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(features)
        return nn.Dense(self.num_outputs, kernel_init=torch_linear, name="linear")(x)


class ProjectionHead(nn.Module):
    """Perceptron dim -> dim -> num_outputs with biases and one ReLU, L2-normalised; in float32.

    The head of the contrastive privacy network f_B: SPAct, arXiv 2203.15205, Sec. 3.
    """

    num_outputs: int = 128

    @nn.compact
    def __call__(
        self, features: Float[Array, "batch dim"], *, train: bool
    ) -> Float[Array, "batch num_outputs"]:
        """Return unit vectors; training and evaluation do not differ."""
        del train  # every head is called alike
        x = nn.Dense(features.shape[-1], kernel_init=torch_linear, name="linear1")(features)
        x = nn.Dense(self.num_outputs, kernel_init=torch_linear, name="linear2")(nn.relu(x))
        return l2_normalize(x)
