"""Checks the array shapes and types in the signatures of the pure modules while the tests run."""

from jaxtyping import install_import_hook

# Before the tests import these modules, for an import hook changes nothing that is loaded already.
install_import_hook(["anon_jax.losses", "anon_jax.metrics"], "beartype.beartype")
