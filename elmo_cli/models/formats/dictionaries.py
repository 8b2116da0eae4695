"""Dictionaries of words and characters of ELMoForManyLangs, and the ids of tokens by them.

Characters are code points with a table of their own; a token is truncated to its first 48 code
points before word and characters are looked up; and the names of the two word markers are swapped
where ids are made. Source: the project's frontend.py and elmo.py.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elmo_cli.errors import ModelError

IDEOGRAPHIC_SPACE = "\u3000"  # the token of a line that strip() leaves without one
MAX_DICTIONARY = 1 << 30


class WordCharacterMapper:
    """Maps tokens to a word id and character ids.

    If the model has no word table or no character table, these ids are 0.

    Args:
        words: Row of each word in the word table.
        characters: Row of each character in the character table.
        max_characters: Characters per token, with the two word markers.
    """

    bos, eos, unit = "<bos>", "<eos>", "characters"

    def __init__(
        self, words: Mapping[str, int], characters: Mapping[str, int], max_characters: int
    ) -> None:
        self.words = words
        self.characters = characters
        self.max_characters = max_characters

    def token_ids(self, token: str) -> npt.NDArray[np.int64]:
        """Return the ids of one token, (1 + max_characters,) int64."""
        token = token[: self.max_characters - 2]
        row = np.full(1 + self.max_characters, self.characters.get("<pad>", 0), dtype=np.int64)
        row[0] = self.words.get(token, self.words.get("<oov>", 0))
        if self.characters:
            unknown = self.characters["<oov>"]
            letters = [token] if token in (self.bos, self.eos) else token
            spelling = [self.characters.get(letter, unknown) for letter in letters]
            # Intended: the project's code looks the markers up by each other's names, and the
            # models were trained with it.
            spelling = [self.characters["<eow>"], *spelling, self.characters["<bow>"]]
            row[1 : 1 + len(spelling)] = spelling
        return row

    def tokens_to_ids(self, tokens: Sequence[str]) -> Tensor:
        """Return the ids of a list of tokens, (token, 1 + max_characters) int64."""
        if not tokens:
            return torch.empty(0, 1 + self.max_characters, dtype=torch.long)
        return torch.from_numpy(np.stack([self.token_ids(token) for token in tokens]))

    def is_truncated(self, token: str) -> bool:
        """Return whether the token has more code points than the encoder reads."""
        return len(token) > self.max_characters - 2


def read_dictionary(
    files: Mapping[str, Path], name: str, size: int, needed: Collection[str]
) -> dict[str, int]:
    """Read a dictionary: lines of a token, a tab and its row.

    Args:
        files: Path of each file by its role in the format.
        name: Role of the dictionary.
        size: Number of rows of the embedding table.
        needed: Entries that the dictionary must have.

    Returns:
        Row of each token.

    Raises:
        ModelError: The dictionary is missing, cannot be read, or lacks an entry.
    """
    if name not in files:
        raise ModelError(
            f"{files['config.json'].parent}: lacks {name}, the dictionary of an embedding table"
        )
    path = files[name]
    if path.stat().st_size > MAX_DICTIONARY:
        raise ModelError(
            f"{path}: is larger than {MAX_DICTIONARY:,} bytes, the limit of a dictionary; check "
            "the file"
        )
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ModelError(
            f"{path}: byte 0x{error.object[error.start]:02x} at byte offset {error.start} is not "
            "UTF-8"
        ) from None
    rows: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        token, row = _read_entry(line, f"{path}:{number}", size)
        if row is not None:
            rows[token] = row
    missing = [word for word in needed if word not in rows]
    if missing:
        raise ModelError(f"{path}: lacks the entry {missing[0]}")
    return rows


def _read_entry(line: str, place: str, size: int) -> tuple[str, int | None]:
    fields = line.strip().split("\t")
    if fields == [""]:
        return "", None
    token, row = [IDEOGRAPHIC_SPACE, *fields] if len(fields) == 1 else (fields[0], fields[-1])
    if len(fields) > 2 or not row.isdecimal() or len(row) > 18 or int(row) >= size:
        raise ModelError(
            f"{place}: {json.dumps(line[:80], ensure_ascii=False)} is not a token, a tab and a row "
            f"below {size}"
        )
    return token, int(row)
