"""The errors of an export: their message is meant for whoever started the command."""

from anon_jax.errors import RunError


class ExportError(RunError):
    """A model that cannot be made, read or trusted; the message says why, and what to do."""
