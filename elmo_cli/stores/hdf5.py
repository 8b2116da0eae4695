"""AllenNLP's HDF5 layout: a data set a sentence, and a JSON map from sentences to data sets.

Data sets "0", "1", ... are (layer, token, dim) float32, or (token, dim) for one layer or the average; `sentence_to_index`, shape (1,),
is a variable-length string of JSON. Readers of the layout break on any other data set, so metadata is in the file's attributes.

The JSON repeats the key of a sentence that occurs more than once. Python's `json` keeps the last value at the first place, which is
just what AllenNLP's own map holds; so the map is written as it comes, whatever the size of the corpus.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np

from elmo_cli.corpus import Sentence
from elmo_cli.errors import OutputError
from elmo_cli.hdf5_heap import MAX_BYTES, append_string
from elmo_cli.pooling import Array
from elmo_cli.stores.files import Output

SENTENCE_MAP = "sentence_to_index"
DATASET_BYTES = 375  # measured: what a data set takes beside its values
_ESCAPES = str.maketrans({"\\": "\\\\", "/": "\\s", "\0": "\\0"})  # "/" would nest groups, NUL would end the name


class Hdf5Store:
    """Writes the layout. `keys` names the data sets: "number" (in the input, from 0) or "sentence" (its text, see `sentence_name`)."""

    def __init__(self, output: Output, metadata: Mapping[str, str], *, keys: str = "number", forget_sentences: bool = False) -> None:
        self.output = output
        self.metadata = metadata
        self.by_sentence = keys == "sentence"
        self.keeps_map = not (forget_sentences or self.by_sentence)
        self.skipped_duplicates = 0
        self._open = ExitStack()

    def committed(self) -> int:
        """Sentences that need not be computed again: none, the file is begun anew."""
        return 0

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Add the data sets of a window of sentences.

        Raises:
            OutputError: The disk is full or gone.
        """
        with self._failing_as_output_error():
            for sentence, array in zip(window, arrays, strict=True):
                self._add(sentence, array)

    def _add(self, sentence: Sentence, array: Array) -> None:
        name = sentence_name(sentence.text) if self.by_sentence else sentence.key
        if self.by_sentence and name in self._file:  # AllenNLP keeps the first one too
            self.skipped_duplicates += 1
            return
        _create_dataset(self._file, name, array)
        if self._map is not None:
            before = "{" if self._map.tell() == 0 else ", "
            self._map.write(f"{before}{json.dumps(sentence.text)}: {json.dumps(sentence.key)}".encode())
            if self._map.tell() >= MAX_BYTES:
                raise OutputError(
                    f"{self.output.path}: the sentences exceed {SENTENCE_MAP}'s 4 GiB; pass --forget-sentences to do without it"
                )

    def __enter__(self) -> "Hdf5Store":
        with ExitStack() as opening, self._failing_as_output_error():
            self._partial = self.output.make_partial()
            opening.callback(self._partial.close)
            # Links in order of creation: sentences are listed in input order, and the root group costs no memory, however many there are.
            self._file = h5py.File(self._partial, "w", libver=("earliest", "latest"), track_order=True)
            opening.callback(self._file.close)
            opening.callback(self._partial.discard)  # the first of the three: closing must not fail where writing did
            self._map = opening.enter_context(tempfile.TemporaryFile(dir=self.output.folder)) if self.keeps_map else None
            for name, value in self.metadata.items():
                self._file.attrs[name] = value.encode("utf-8", "backslashreplace").decode()  # the names of files need not be UTF-8
            self._open = opening.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._open, self._failing_as_output_error():
            if kind is None:
                self._finish()

    def _finish(self) -> None:
        self._file.close()
        self._partial.close()
        if self._map is not None:
            self._map.write(b"}" if self._map.tell() else b"{}")
            append_string(self._partial.path, SENTENCE_MAP, self._map)
        self.output.put_in_place(self._partial)

    @contextmanager
    def _failing_as_output_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self.output.path}: cannot be written ({error.strerror or error})") from None


def read_metadata(path: Path) -> dict[str, str]:
    """What the file says of how it was made: its attributes that are strings; none where it cannot be read."""
    try:
        with h5py.File(path, "r") as file:
            return {name: value for name, value in file.attrs.items() if isinstance(value, str)}
    except (OSError, RuntimeError, ValueError):
        return {}


def estimate_bytes(sentences: int, tokens: int, text_bytes: int, values_per_token: int) -> int:
    """Size of the file for such a corpus: the arrays, each data set's header, and the sentences' text."""
    return tokens * values_per_token * 4 + sentences * DATASET_BYTES + 2 * text_bytes  # the map is written twice: first beside the file


def sentence_name(text: str) -> str:
    r"""A sentence as the name of a data set: "\", "/" and NUL become "\\", "\s" and "\0"; the names "" and "." become "\e" and "\.".

    Nearly every sentence is its own name; `sentence_text` undoes the rest.
    """
    return {"": "\\e", ".": "\\."}.get(text) or text.translate(_ESCAPES)


def sentence_text(name: str) -> str:
    """The sentence that `sentence_name` made this name of."""
    if name in ("\\e", "\\."):
        return name[1:].replace("e", "")
    parts = name.split("\\\\")
    return "\\".join(part.replace("\\s", "/").replace("\\0", "\0") for part in parts)


def _create_dataset(file: h5py.File, name: str, array: Array) -> None:
    """As file.create_dataset(name, data=array), in half the time: most of the cost of a short sentence."""
    values = np.ascontiguousarray(array, dtype=np.float32)
    space = h5py.h5s.create_simple(values.shape)
    dataset = h5py.h5d.create(file.id, name.encode("utf-8"), h5py.h5t.IEEE_F32LE, space, dcpl=_without_times())
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)


@cache
def _without_times() -> h5py.h5p.PropDCID:
    """Data sets without time stamps: the same job writes the same bytes."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_obj_track_times(False)
    return properties
