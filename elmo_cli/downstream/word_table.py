"""Table of a word's occurrences: places in each layer's map, context, label and island."""

from pathlib import Path
from typing import Any

from elmo_cli.downstream.figures import write_file
from elmo_cli.downstream.word_map import WordMap


def table_of(found: WordMap) -> dict[str, list[Any]]:
    """Return the columns of the table.

    They are key, sentence, position, token, left, right, context, label, island, and x, y of each
    layer.
    """
    size, occurrences = found.context, found.occurrences
    columns: dict[str, list[Any]] = {
        "key": [one.key for one in occurrences],
        "sentence": [one.sentence for one in occurrences],
        "position": [one.position for one in occurrences],
        "token": [one.token for one in occurrences],
        "left": [" ".join(one.left(size)) for one in occurrences],
        "right": [" ".join(one.right(size)) for one in occurrences],
        "context": [
            " ".join([*one.left(size), one.token, *one.right(size)]) for one in occurrences
        ],
        "label": [one.label for one in occurrences],
        "island": [_island_name(found, row) for row in range(len(occurrences))],
    }
    for panel in found.panels:
        columns[f"x_{panel.name}"] = panel.points[:, 0].tolist()
        columns[f"y_{panel.name}"] = panel.points[:, 1].tolist()
    return columns


def _island_name(found: WordMap, row: int) -> str | None:
    last = found.panels[-1]
    island = int(last.islands[row])
    return last.island_names[island] if island >= 0 else None


def write_columns(columns: dict[str, list[Any]], path: Path) -> None:
    """Write a table, complete or not at all, as Parquet or, by the suffix, as CSV.

    Raises:
        OutputError: It cannot be written.
    """
    write_file(
        path,
        lambda partial: (_write_csv if path.suffix.lower() == ".csv" else _write_parquet)(
            columns, partial
        ),
    )


def _write_csv(columns: dict[str, list[Any]], path: Path) -> None:
    import csv

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _write_parquet(columns: dict[str, list[Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = {"key", "token", "left", "right", "context", "label", "island"}
    arrays = {
        name: pa.array(values, pa.string() if name in text else None)
        for name, values in columns.items()
    }
    pq.write_table(pa.table(arrays), path)
