"""The errors a user can fix. Each message is one line: the place, the fact, the remedy."""


class ElmoError(Exception):
    """Something outside the program is wrong: the command line prints the message and exits with 1."""


class CorpusError(ElmoError):
    """The input text cannot be read as it stands."""


class ModelError(ElmoError):
    """The options or the weights of a model cannot be used."""


class OutputError(ElmoError):
    """The features cannot be written where they were asked for."""


class DeviceError(ElmoError):
    """The device that was asked for is not there."""
