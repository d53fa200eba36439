"""The error of a conversion: its message is meant for whoever started the command."""

from anon_jax.errors import RunError


class ConvertError(RunError):
    """A file that cannot be converted; the message says what is wrong, where, and what to do."""
