"""Train an image anonymizer that keeps the action recognisable and removes private attributes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anon_jax.restore import load_anonymizer, save_anonymizer

__all__ = ["load_anonymizer", "save_anonymizer"]


def __getattr__(name: str) -> Any:
    # On demand: importing the package must not import JAX, nor choose its devices.
    if name in __all__:
        from anon_jax import restore

        return getattr(restore, name)
    raise AttributeError(f"module 'anon_jax' has no attribute '{name}'")
