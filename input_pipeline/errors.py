"""The errors of the input pipeline: their message is meant for whoever started the command."""


class DataError(Exception):
    """Data that cannot be used; the message says what is wrong, where, and what to do."""


class WorkerKilledError(DataError):
    """A process was killed from outside: the data are not at fault, and its work can go on."""
