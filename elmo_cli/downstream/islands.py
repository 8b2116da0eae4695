"""Islands of a map: dense clusters of points (HDBSCAN), named by distinctive context words."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from elmo_cli.downstream.function_words import FUNCTION_WORDS
from elmo_cli.downstream.occurrences import Occurrence, WordScan
from elmo_cli.downstream.projection import Points

Ints = npt.NDArray[np.int64]
SMALLEST = 8  # points of an island, at least,
SHARE = 40  # and one in so many of all
WINDOW = 10  # tokens on either side that name an island
STOP_SHARE = 0.08  # a type in more of the file's sentences is a stop word;
# Of a file whose sentences were chosen for the word, where what marks a sense is frequent
STOP_SHARE_OF_WORD = 0.25
NAME_WORDS = 3
# Standard errors of a log odds ratio below which it is with a probability of 5 %
CONFIDENCE = 1.645
MARKED = 0.5  # least ratio of odds, as a logarithm, of a word in a name
NO_ISLAND = -1


def find_islands(points: Points) -> Ints:
    """Return the island of each point of a map, from 0, largest first.

    NO_ISLAND for a point between them.
    """
    from sklearn.cluster import HDBSCAN

    size = max(SMALLEST, len(points) // SHARE)
    if len(points) < 2 * size:
        return np.full(len(points), NO_ISLAND)
    found = HDBSCAN(min_cluster_size=size, min_samples=5, copy=True).fit_predict(points)
    by_size = [island for island, _ in Counter(found[found >= 0].tolist()).most_common()]
    return np.array(
        [by_size.index(island) if island >= 0 else NO_ISLAND for island in found.tolist()],
        dtype=np.int64,
    )


def stop_words(scan: WordScan) -> set[str]:
    """Return English function words, and the types that occur in many sentences of the file.

    The latter are the function words of other languages; where the sentences were not chosen for
    the word, all of them count, not only the word's own.
    """
    sentences_of_word = len(set(scan.places[:, 0].tolist()))
    chosen_for_word = sentences_of_word > scan.n_sentences / 2
    most = max(2.0, (STOP_SHARE_OF_WORD if chosen_for_word else STOP_SHARE) * scan.n_sentences)
    frequent = {type_ for type_, count in scan.sentences_with.items() if count > most}
    return frequent | FUNCTION_WORDS


def name_islands(islands: Ints, occurrences: Sequence[Occurrence], stop: set[str]) -> list[str]:
    """Return a name for each island: words that are more frequent near it than elsewhere.

    Words are ranked by the lower confidence bound of their log odds ratio, which a rare word cannot
    have high; an island that no word marks is named by its number.
    """
    contexts = [_content_words(occurrence, stop) for occurrence in occurrences]
    everywhere = Counter(word for context in contexts for word in context)
    names = []
    for island in range(int(islands.max(initial=NO_ISLAND)) + 1):
        inside = [
            context for context, of in zip(contexts, islands.tolist(), strict=True) if of == island
        ]
        marks = _marks(
            Counter(word for context in inside for word in context),
            len(inside),
            everywhere,
            len(contexts),
        )
        names.append(" ".join(marks) or f"island {island + 1}")
    return names


def _content_words(occurrence: Occurrence, stop: set[str]) -> set[str]:
    words = {token.casefold() for token in occurrence.left(WINDOW) + occurrence.right(WINDOW)}
    own = occurrence.token.casefold()
    return {
        word
        for word in words - stop
        if word != own and any(character.isalpha() for character in word)
    }


def _marks(inside: Counter[str], size: int, everywhere: Counter[str], total: int) -> list[str]:
    fewest = max(2, size // 50)
    scores = {
        word: _least_log_odds_ratio(count, size, everywhere[word] - count, total - size)
        for word, count in inside.items()
        if count >= fewest
    }
    ranked = sorted(scores, key=lambda word: (-scores[word], word))
    return [word for word in ranked[:NAME_WORDS] if scores[word] > MARKED]


def _least_log_odds_ratio(inside: int, size: int, outside: int, others: int) -> float:
    cells = np.array([inside, size - inside, outside, others - outside]) + 0.5
    odds = np.log(cells[0] / cells[1]) - np.log(cells[2] / cells[3])
    return float(odds - CONFIDENCE * np.sqrt((1 / cells).sum()))
