"""Files of predictions: CoNLL columns, JSON Lines, TSV and Parquet."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from elmo_cli.downstream.annotated_columns import annotate
from elmo_cli.downstream.examples import NUMBERS
from elmo_cli.downstream.predictor import Floats, TrainedHead
from elmo_cli.io.atomic import writing_errors
from elmo_cli.io.output_file import OutputFile, OutputTarget
from elmo_cli.io.stdout import Pipe
from elmo_cli.types import Array, Sentence

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = {
    "conll": (".conll", ".conllu", ".conllup", ".conllx", ".iob", ".iob2", ".bio"),
    "jsonl": (".jsonl", ".ndjson", ".jsonlines"),
    "tsv": (".tsv",),
    "parquet": (".parquet", ".pq"),
}
FORMATS = tuple(SUFFIXES)


@dataclass(frozen=True)
class PredictionRows:
    """Conversion of predictions to output rows.

    Args:
        trained: The classifier, which names its results.
        kept: Names of the kept columns.
        proba: Whether probabilities are written.
        scheme: Tag scheme to write; None: that of the training part.
        annotated: Format of the column files that are written again; None: sentences have no lines.
        text_name: Name of the column of the texts.
    """

    trained: TrainedHead
    kept: tuple[str, ...] = ()
    proba: bool = False
    scheme: str | None = None
    annotated: str | None = None
    text_name: str = "text"

    @property
    def label_name(self) -> str:
        """Name of the column of the predictions."""
        settings = self.trained.settings
        name = "labels" if settings.of_tokens or settings.task == "label sets" else "label"
        return f"predicted_{name}" if name in self.kept else name

    def record(self, sentence: Sentence, result: Floats) -> dict[str, Any]:
        """Return a sentence and its prediction as plain values, by name."""
        found: dict[str, Any] = {} if sentence.id is None else {"id": sentence.id}
        found |= dict(zip(self.kept, sentence.kept, strict=False))
        settings = self.trained.settings
        found["tokens" if settings.of_tokens else self.text_name] = (
            sentence.tokens if settings.of_tokens else sentence.text
        )
        found[self.label_name] = self.trained.names(result, self.scheme)
        if self.proba and settings.of_tokens:
            found["probabilities"] = [round(float(chance), 6) for chance in result[:, 1]]
        elif self.proba and settings.task != NUMBERS:
            chances = [round(float(chance), 6) for chance in result]
            found["probabilities"] = (
                dict(zip(settings.labels, chances, strict=True)) if chances else None
            )
        return found

    def lines(self, sentence: Sentence, result: Floats) -> str:
        """Return the lines of a sentence as CoNLL columns."""
        labels = self.trained.names(result, self.scheme)
        chances = [f"{chance:.4f}" for chance in result[:, 1]] if self.proba else []
        if self.annotated:
            return annotate(sentence, labels, chances, self.trained.settings.label, self.annotated)
        columns = [sentence.tokens, labels, *([chances] if self.proba else [])]
        return "".join(f"{chr(9).join(cells)}\n" for cells in zip(*columns, strict=True)) + "\n"


@dataclass
class TextWriter:
    """Writer of CoNLL, JSON Lines and TSV."""

    output: OutputTarget
    rows: PredictionRows
    render: Callable[[PredictionRows, Sequence[tuple[Sentence, Floats]], bool], str]
    skipped_duplicates: int = 0
    _is_first: bool = True

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Append the predictions of a window.

        Raises:
            DiskError: The disk is full or gone.
        """
        text = self.render(self.rows, list(zip(window, arrays, strict=True)), self._is_first)
        self._is_first = False
        with writing_errors(self.output.path):
            self._file.write(text.encode("utf-8", "surrogatepass"))

    def __enter__(self) -> "TextWriter":
        self._file = self.output.make_partial() if isinstance(self.output, OutputFile) else Pipe()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._is_first:
            self.write([], [])
        _end(self.output, self._file, complete=kind is None)


def _end(output: OutputTarget, file: Any, *, complete: bool) -> None:  # noqa: ANN401  # a PartialFile, or a Pipe
    if not isinstance(output, OutputFile):
        return
    with writing_errors(output.path):
        try:
            if complete:
                output.put_in_place(file)
        finally:
            file.discard()


def _render_conll(
    rows: PredictionRows,
    found: Sequence[tuple[Sentence, Floats]],
    is_first: bool,  # noqa: ARG001
) -> str:
    return "".join(rows.lines(sentence, result) for sentence, result in found)


def _render_jsonl(
    rows: PredictionRows,
    found: Sequence[tuple[Sentence, Floats]],
    is_first: bool,  # noqa: ARG001
) -> str:
    return "".join(
        f"{json.dumps(rows.record(sentence, result), ensure_ascii=False, default=str)}\n"
        for sentence, result in found
    )


def _render_tsv(
    rows: PredictionRows, found: Sequence[tuple[Sentence, Floats]], is_first: bool
) -> str:
    records = [_flat(rows.record(sentence, result), rows.label_name) for sentence, result in found]
    header = ["\t".join(records[0])] if is_first and records else []
    return "".join(
        f"{line}\n" for line in [*header, *("\t".join(record.values()) for record in records)]
    )


def _flat(record: dict[str, Any], label_name: str) -> dict[str, str]:
    """Return a record as strings, with the highest probability alone for single labels."""
    chances = record.pop("probabilities", None)
    if isinstance(chances, dict) and isinstance(record[label_name], str):
        record["probability"] = max(chances.values())
    elif chances is not None:
        record["probabilities"] = chances
    return {name: _text(value) for name, value in record.items()}


def _text(value: Any) -> str:  # noqa: ANN401  # a cell
    if isinstance(value, list):
        value = " ".join(map(str, value))
    elif isinstance(value, dict):
        value = json.dumps(value, ensure_ascii=False)
    return " ".join(str("" if value is None else value).replace("\t", " ").splitlines())


@dataclass
class ParquetWriter:
    """Writer of Parquet, with one row group for each window."""

    output: OutputTarget
    rows: PredictionRows
    kept: "pa.Schema | None" = None
    skipped_duplicates: int = 0
    _parquet: Any = None

    def write(self, window: Sequence[Sentence], arrays: Sequence[Array]) -> None:
        """Append the predictions of a window.

        Raises:
            DiskError: The disk is full or gone.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        records = [
            self.rows.record(sentence, result)
            for sentence, result in zip(window, arrays, strict=True)
        ]
        for record in records:
            if isinstance(record.get("probabilities"), dict):
                record["probabilities"] = list(record["probabilities"].values())
        schema = self._schema(records)
        columns = {name: [record.get(name) for record in records] for name in schema.names}
        with writing_errors(self.output.path):
            self._parquet = self._parquet or pq.ParquetWriter(
                self._file, schema, compression="zstd"
            )
            self._parquet.write_table(pa.table(columns, schema=self._parquet.schema))

    def _schema(self, records: Sequence[dict[str, Any]]) -> "pa.Schema":
        import pyarrow as pa

        settings = self.rows.trained.settings
        label = pa.float64() if settings.task == NUMBERS else pa.string()
        fields = [("id", pa.string())] if any("id" in record for record in records) else []
        fields += [(one.name, one.type) for one in self.kept or ()]
        fields += (
            [("tokens", pa.list_(pa.string()))]
            if settings.of_tokens
            else [(self.rows.text_name, pa.string())]
        )
        fields += [
            (
                self.rows.label_name,
                pa.list_(label) if self.rows.label_name.endswith("labels") else label,
            )
        ]
        fields += (
            [("probabilities", pa.list_(pa.float32()))]
            if self.rows.proba and settings.task != NUMBERS
            else []
        )
        schema = pa.schema(fields)
        return (
            schema
            if settings.of_tokens
            else schema.with_metadata({"labels": json.dumps(settings.labels)})
        )

    def __enter__(self) -> "ParquetWriter":
        self._file: Any = (
            self.output.make_partial() if isinstance(self.output, OutputFile) else io.BytesIO()
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with writing_errors(self.output.path):
            if kind is None:
                if self._parquet is None:
                    self.write([], [])
                self._parquet.close()
            elif self._parquet is not None and isinstance(self.output, OutputFile):
                self._file.discard()
                self._parquet.close()
        _end(self.output, self._file, complete=kind is None)


RENDERERS = {"conll": _render_conll, "jsonl": _render_jsonl, "tsv": _render_tsv}
