"""What a reader does about a bad line: it reports the problem and goes on, if the report lets it."""

from collections.abc import Callable

from elmo_cli.errors import CorpusError

OnError = Callable[[CorpusError], None]


def raise_error(problem: CorpusError) -> None:
    """Report a problem by raising it: the first one ends the reading."""
    raise problem
