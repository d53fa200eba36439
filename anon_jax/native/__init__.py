"""Kernels for XLA's CPU backend, compiled on the machine that runs them: `library.load()`."""
