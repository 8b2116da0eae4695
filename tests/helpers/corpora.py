"""The same sentences as a file of every format, for the tests of the readers."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import ipc, parquet

Tokens = Sequence[Sequence[str]]


def table(sentences: Tokens, type_: pa.DataType | None = None, **columns: object) -> pa.Table:
    """A column "tokens" and others."""
    return pa.table({"tokens": pa.array(sentences, type_ or pa.list_(pa.string())), **columns})


def write_parquet(sentences: Tokens | pa.Table, path: Path, **options: object) -> Path:
    parquet.write_table(
        sentences if isinstance(sentences, pa.Table) else table(sentences), path, **options
    )
    return path


def write_arrow(sentences: Tokens | pa.Table, path: Path, rows: int | None = None) -> Path:
    data = sentences if isinstance(sentences, pa.Table) else table(sentences)
    with (ipc.new_stream if path.suffix == ".arrows" else ipc.new_file)(
        path, data.schema
    ) as writer:
        writer.write_table(data, rows)
    return path


def _text(sentences: Tokens) -> str:
    return "".join(" ".join(tokens) + "\n" for tokens in sentences)


def _jsonl(sentences: Tokens) -> str:
    return "".join(json.dumps({"tokens": list(tokens)}) + "\n" for tokens in sentences)


def _csv(sentences: Tokens) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(
        [["id", "tokens"], *([i, " ".join(tokens)] for i, tokens in enumerate(sentences))]
    )
    return out.getvalue()


def _tsv(sentences: Tokens) -> str:
    return "tokens\tlabel\n" + "".join(" ".join(tokens) + "\tx\n" for tokens in sentences)


def _conllu(sentences: Tokens) -> str:
    blocks = (
        f"# sent_id = s{n}\n# text = unused\n1-2\tno\t_\n"
        + "".join(f"{i}\t{token}\t_\n{i}.1\tno\t_\n" for i, token in enumerate(tokens, start=1))
        for n, tokens in enumerate(sentences)
    )
    return "# newdoc\n\n" + "\n".join(blocks)


def _conll(sentences: Tokens) -> str:
    return "-DOCSTART- -X- O\n\n" + "\n".join(
        "".join(f"{token} NN O\n" for token in tokens) for tokens in sentences
    )


def _fasta(sentences: Tokens) -> str:
    return "".join(
        f">p{n} a protein\n{''.join(tokens[:3])}\n{''.join(tokens[3:])}*\n"
        for n, tokens in enumerate(sentences)
    )


TEXTS: dict[str, Callable[[Tokens], str]] = {
    "text": _text,
    "jsonl": _jsonl,
    "csv": _csv,
    "tsv": _tsv,
    "conllu": _conllu,
    "conll": _conll,
    "fasta": _fasta,
}
TABLES: dict[str, Callable[[Tokens, Path], Path]] = {"parquet": write_parquet, "arrow": write_arrow}


def write_corpus(format_: str, sentences: Tokens, path: Path) -> Path:
    """The sentences in a format. FASTA takes those of one-letter tokens only."""
    if format_ in TEXTS:
        path.write_text(TEXTS[format_](sentences), encoding="utf-8")
        return path
    return TABLES[format_](sentences, path)
