"""Weights of PyTorch in: a weight file becomes a checkpoint folder that `config.init_from` reads.

`python -m anon_jax.convert` is the command; docs/weights.md says what it can read.
"""

from anon_jax.convert.conversion import NETWORKS, convert
from anon_jax.convert.errors import ConvertError

__all__ = ["NETWORKS", "ConvertError", "convert"]
