"""What the layers of a model know, in figures: tags, senses, question types, the bank example, and what n-grams make of held-out text.

Run by hand (it needs the `figures` extra); JSON goes to standard output, progress and a Markdown table to standard error:

    python -m tests.figures MODEL_DIR --shared ../shared --start primed --prime ../shared/corpus/heldout/wiki21.txt.zst > figures.json
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import numpy.typing as npt

from elmo_cli.batching import BATCH_TOKENS, STATEFUL_BATCH, WINDOW_TOKENS
from elmo_cli.corpus import Sentence
from elmo_cli.devices import choose_device
from elmo_cli.embedder import Embedder, StatefulEmbedder
from elmo_cli.errors import ElmoError
from elmo_cli.models import find_model
from elmo_cli.pipeline import embed_carrying_state, embed_window, groups, windows
from elmo_cli.readers.text import read_text
from tests.ngrams import EOS, ORDER, UNKNOWN, Text, add_one_unigram, interpolated_kneser_ney, perplexity, read_ids, read_vocabulary

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Scores = dict[str, float]  # by layer: "0", "1", ..., "mean"
Embed = Callable[[Iterable[list[str]]], Iterator[Floats]]  # sentences to their layers (layer, token, dim); each call starts anew

SAMPLE = Path(__file__).parents[1] / "sample_data" / "corpus.txt"
ROUNDING = 1e-6  # cosines nearer than this are equal
ALL = "all layers"


class Figure(NamedTuple):
    """One experiment: scores by row and layer, and what they are measured against."""

    rows: dict[str, Scores]
    against: dict[str, float]
    details: dict[str, Any]


# Features


def make_embed(embedder: Embedder, start: str) -> Embed:
    """The function that embeds a set of sentences, stateful or each from the embedder's start."""

    def embed(sentences: Iterable[list[str]]) -> Iterator[Floats]:
        corpus = (Sentence(str(i), tokens, "") for i, tokens in enumerate(sentences))
        if start == "stateful":
            carried = StatefulEmbedder(embedder)
            for window in groups(corpus, STATEFUL_BATCH):
                yield from embed_carrying_state(window, carried)
        else:
            for window in windows(corpus, WINDOW_TOKENS):
                yield from embed_window(window, embedder, BATCH_TOKENS)

    return embed


def by_layer(features: Floats) -> Iterator[tuple[str, Floats]]:
    """Each layer's features (example, dim) of (layer, example, dim), and the mean of the layers."""
    yield "0", features[0, :, : features.shape[2] // 2]  # layer 0 is one vector twice
    yield from ((str(layer), part) for layer, part in enumerate(features[1:], start=1))
    yield "mean", features.mean(axis=0)


def unit(vectors: Floats) -> Floats:
    """The vectors, scaled to length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)  # type: ignore[no-any-return]


# Tags


def read_tagged(path: Path, limit: int | None) -> tuple[list[list[str]], list[str]]:
    """Sentences of a FORM TAB UPOS TAB XPOS file, and the UPOS of all their tokens."""
    blocks = path.read_text(encoding="utf-8").strip("\n").split("\n\n")[:limit]
    rows = [[line.split("\t") for line in block.split("\n")] for block in blocks]
    return [[row[0] for row in block] for block in rows], [row[1] for block in rows for row in block]


def measure_tags(embed: Embed, shared: Path, limit: int | None) -> Figure:
    """UPOS of EWT's test part by logistic regression on the frozen features of its training part."""
    folder = shared / "eval" / "pos_en_ewt"
    sets = [read_tagged(folder / name, limit) for name in ("train.tsv", "test.tsv")]
    train, test = (np.concatenate(list(embed(sentences)), axis=1) for sentences, _ in sets)
    scores, iterations = {}, {}
    for (name, train_x), (_, test_x) in zip(by_layer(train), by_layer(test), strict=True):
        model = tag_classifier().fit(train_x, sets[0][1])
        scores[name] = float(model.score(test_x, sets[1][1]))
        iterations[name] = int(model[-1].n_iter_[0])
        say(f"pos: layer {name} {scores[name]:.4f}")
    details = {"classifier": describe(model), "iterations": iterations, "train_tokens": train.shape[1], "test_tokens": test.shape[1]}
    return Figure({"EWT UPOS accuracy": scores}, {"most frequent tag": baseline(shared, "pos_en_ewt", "most_frequent_tag_acc")}, details)


def tag_classifier() -> Any:  # scikit-learn is untyped
    """Logistic regression on whitened features: correlated ones, of the same scale or not, take lbfgs five times as long."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(PCA(whiten=True, svd_solver="covariance_eigh"), LogisticRegression(solver="lbfgs", max_iter=500))


def describe(model: Any) -> str:  # scikit-learn is untyped
    """A pipeline's steps, as they are written."""
    return ", ".join(str(step) for step in model)


def baseline(shared: Path, task: str, name: str) -> float:
    """A reference score of the evaluation sets' own table."""
    return float(json.loads((shared / "eval" / "BASELINES.json").read_text())[task][name])


# Senses


def read_senses(path: Path, limit: int | None) -> list[dict[str, Any]]:
    """The {word, index, sense, tokens} of a JSON-lines file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in islice(lines, limit)]


def measure_senses(embed: Embed, shared: Path, limit: int | None) -> Figure:
    """Senses of CoarseWSD-20 (lower-cased text) by the nearest labelled occurrence and by the nearest centroid, mean over words."""
    folder = shared / "eval" / "wsd_coarsewsd20"
    by_word = {}
    for word in sorted(path.name.split(".")[0] for path in folder.glob("*.train.jsonl")):
        train, test = (read_senses(folder / f"{word}.{part}.jsonl", limit) for part in ("train", "test"))
        by_word[word] = score_senses(embed, train, test)
        say(f"wsd: {word} {show(by_word[word]['nearest neighbour'])}")
    rows = {f"CoarseWSD-20, {how}": macro([scores[how] for scores in by_word.values()]) for how in NEAREST}
    frequent = {"most frequent sense": baseline(shared, "wsd_coarsewsd20", "most_frequent_sense")}
    return Figure(rows, frequent, {"by_word": by_word})


def score_senses(embed: Embed, train: list[dict[str, Any]], test: list[dict[str, Any]]) -> dict[str, Scores]:
    """Accuracy on one word's test set, by method and layer."""
    senses = sorted({example["sense"] for example in train})
    one_hot = np.array([[example["sense"] == sense for sense in senses] for example in train], dtype=np.float32)
    layers = list(zip(by_layer(embed_targets(embed, train)), by_layer(embed_targets(embed, test)), strict=True))
    gold = [example["sense"] for example in test]
    return {
        how: {name: agreement(guess(unit(train_x), one_hot, unit(test_x)), senses, gold) for (name, train_x), (_, test_x) in layers}
        for how, guess in NEAREST.items()
    }


def embed_targets(embed: Embed, examples: Sequence[dict[str, Any]]) -> Floats:
    """The vectors of each example's target word, (layer, example, dim)."""
    embedded = embed(example["tokens"] for example in examples)
    return np.stack([layers[:, example["index"]] for example, layers in zip(examples, embedded, strict=True)], axis=1)


def nearest_neighbour(train: Floats, one_hot: Floats, test: Floats) -> Ints:
    """The sense of the nearest training vector; of several equal ones (layer 0 has one vector a form), their most frequent sense."""
    return np.asarray(np.argmax(nearest(test @ train.T) @ one_hot, axis=1))


def nearest_centroid(train: Floats, one_hot: Floats, test: Floats) -> Ints:
    """The sense whose mean training vector is nearest; of several equal ones, the most frequent."""
    return np.asarray(np.argmax(nearest(test @ unit(one_hot.T @ train).T) * one_hot.sum(axis=0), axis=1))


def nearest(cosines: Floats) -> Floats:
    """1 where a row of cosines has its maximum, up to rounding, and 0 elsewhere."""
    return np.asarray(cosines >= cosines.max(axis=1, keepdims=True) - ROUNDING, np.float32)


NEAREST = {"nearest neighbour": nearest_neighbour, "nearest centroid": nearest_centroid}


def agreement(guessed: Ints, senses: Sequence[str], gold: Sequence[str]) -> float:
    """Share of the guesses that are right."""
    return float(np.mean([senses[guess] == sense for guess, sense in zip(guessed, gold, strict=True)]))


def macro(scores: Sequence[Scores]) -> Scores:
    """Mean over words."""
    return {name: float(np.mean([word[name] for word in scores])) for name in scores[0]}


# Question types


def read_labelled(path: Path, limit: int | None) -> tuple[list[list[str]], list[str]]:
    """Sentences and coarse labels of a COARSE:fine TAB text file."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").strip("\n").split("\n")[:limit]]
    return [text.split() for _, text in rows], [label.split(":")[0] for label, _ in rows]


def measure_questions(embed: Embed, shared: Path, limit: int | None) -> Figure:
    """TREC's six coarse types by logistic regression on pooled features; its C is chosen on the training part alone."""
    sets = [read_labelled(shared / "eval" / "cls_trec" / name, limit) for name in ("train.tsv", "test.tsv")]
    train, test = (dict(pooled(list(embed(sentences)))) for sentences, _ in sets)
    scores, chosen = {}, {}
    for name, features in train.items():
        model = question_classifier().fit(features, sets[0][1])
        scores[name] = float(model.score(test[name], sets[1][1]))
        chosen[name] = model.best_params_["logisticregression__C"]
        say(f"trec: {name} {scores[name]:.4f}")
    together = {"all layers, mean and max": scores.pop(ALL), "TF-IDF": baseline(shared, "cls_trec", "tfidf_logreg")}
    return Figure({"TREC, 6 types, mean-pooled": scores}, together, {"classifier": describe(model.best_estimator_), "C": chosen})


def pooled(embedded: Sequence[Floats]) -> Iterator[tuple[str, Floats]]:
    """Features (sentence, dim) by name: the tokens' mean of each layer, and the mean and maximum of all layers beside each other."""
    mean = np.stack([layers.mean(axis=1) for layers in embedded], axis=1)  # (layer, sentence, dim)
    greatest = np.stack([layers.max(axis=1) for layers in embedded], axis=1)
    yield from by_layer(mean)
    yield ALL, np.concatenate([*mean, *greatest], axis=1)


def question_classifier() -> Any:  # scikit-learn is untyped
    """Logistic regression on standardised features, its C by three-fold cross-validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = make_pipeline(StandardScaler(), LogisticRegression(solver="lbfgs", max_iter=1000))
    return GridSearchCV(regression, {"logisticregression__C": [1e-4, 1e-3, 1e-2, 1e-1, 1]}, cv=3)


# The bank example


def measure_bank(embed: Embed, _shared: Path, _limit: int | None) -> Figure:
    """Cosines of "bank" in the sample's first three sentences: money, river, money."""
    sentences = [sentence.tokens for sentence in islice(read_text(SAMPLE), 3)]
    vectors = np.stack([layers[:, tokens.index("bank")] for tokens, layers in zip(sentences, embed(sentences), strict=True)], axis=1)
    rows: dict[str, Scores] = {f'"bank", {kinds}': {} for kinds in BANKS}
    for name, banks in by_layer(vectors):
        for kinds, (one, other) in BANKS.items():
            rows[f'"bank", {kinds}'][name] = float(unit(banks[one]) @ unit(banks[other]))
    return Figure(rows, {}, {"sentences": [" ".join(tokens) for tokens in sentences]})


BANKS = {"money-money": (0, 2), "money-river (1, 2)": (0, 1), "money-river (3, 2)": (2, 1)}


# Perplexity


def measure_perplexity(shared: Path, vocabulary_file: Path, train_files: Sequence[Path], limit: int | None) -> Figure:
    """Perplexity of the held-out text, every token and </S> predicted, words outside the vocabulary as <UNK>."""
    vocabulary = read_vocabulary(vocabulary_file)
    files = sorted((shared / "corpus" / "heldout").glob("*.txt.zst"))
    train, test = (read_ids(paths, vocabulary, limit) for paths in (train_files, files))
    say(f"perplexity: {len(train.predicted()):,} predictions to count")
    unigram = add_one_unigram(train, test, len(vocabulary) - 1)
    kneser_ney, discounts = interpolated_kneser_ney(train, test, len(vocabulary) - 1)
    against = {"unigram (add one)": perplexity(unigram), f"modified Kneser-Ney {ORDER}-gram": perplexity(kneser_ney)}
    details = {
        "vocabulary": len(vocabulary),
        "train_predictions": len(train.predicted()),
        "heldout_predictions": len(test.predicted()),
        "heldout_unknown": float(np.mean(test.ids[(test.place > 0) & (test.ids != vocabulary[EOS])] == vocabulary[UNKNOWN])),
        "discounts": discounts,
        "kneser_ney_by_file": by_file(kneser_ney, test, files),
        "unigram_by_file": by_file(unigram, test, files),
    }
    return Figure({}, against, details)


def by_file(probabilities: Doubles, text: Text, files: Sequence[Path]) -> dict[str, float]:
    """Perplexity of each file alone."""
    parts = np.split(probabilities, np.searchsorted(text.predicted(), text.file_starts[1:]))
    return {path.name.split(".")[0]: perplexity(part) for path, part in zip(files, parts, strict=True)}


# The command


def show(scores: Scores) -> str:
    """Scores on one line."""
    return ", ".join(f"{name} {score:.4f}" for name, score in scores.items())


def say(line: str) -> None:
    """Tell how far it is."""
    click.echo(f"{time.strftime('%H:%M:%S')} {line}", err=True)


def table(figures: dict[str, Figure]) -> str:
    """All figures as Markdown."""
    names = list(dict.fromkeys(name for figure in figures.values() for scores in figure.rows.values() for name in scores))
    lines = [["", *(f"layer {name}" if name.isdigit() else name for name in names), "beside"]]
    lines.append(["---"] * len(lines[0]))
    for title, figure in figures.items():
        beside = ", ".join(f"{name} {value:.4g}" for name, value in figure.against.items())
        for row, scores in (figure.rows or {title: {}}).items():
            lines.append([row, *(f"{scores[name]:.4f}" if name in scores else "" for name in names), beside])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def load_embedder(model: Path, device: str, start: str, prime: Path | None, prime_sentences: int) -> Embedder:
    """The model, its sentences starting where they shall."""
    if (start == "primed") != (prime is not None):
        raise click.UsageError("--start primed and --prime FILE go together")
    sentences = [] if prime is None else [sentence.tokens for sentence in islice(read_text(prime), prime_sentences)]
    return Embedder(find_model(str(model)).load(), choose_device(device), sentences)


EMBEDDED = {"pos": measure_tags, "wsd": measure_senses, "trec": measure_questions, "bank": measure_bank}
FILE, FOLDER = click.Path(path_type=Path), click.Path(path_type=Path, exists=True, file_okay=False)


def choose_figures(_ctx: click.Context, _parameter: click.Parameter, value: str) -> list[str]:
    """The names of a list such as "pos,bank"."""
    names = value.split(",")
    if unknown := set(names) - {*EMBEDDED, "perplexity"}:
        raise click.BadParameter(f"no figure {', '.join(sorted(unknown))}; there are {', '.join(EMBEDDED)} and perplexity")
    return names


@click.command()
@click.argument("model", metavar="MODEL_DIR", type=FILE)
@click.option("--shared", type=FOLDER, default=Path("../shared"), show_default=True, help="Folder that holds eval/ and corpus/.")
@click.option(
    "--only", default="pos,wsd,trec,bank,perplexity", show_default=True, callback=choose_figures, help="Which figures, and their order."
)
@click.option("--start", type=click.Choice(["zero", "primed", "stateful"]), default="zero", show_default=True, help="State at the start.")
@click.option("--prime", type=FILE, help="Text that is read first, with --start primed.")
@click.option("--prime-sentences", type=click.IntRange(min=1), default=200, show_default=True, help="How much of it.")
@click.option("--train", type=FILE, multiple=True, help="Text for the n-grams; repeatable.  [default: all of corpus/train]")
@click.option("--vocabulary", type=FILE, help="Words of the n-grams.  [default: the model's vocab.txt]")
@click.option("--device", default="auto", show_default=True, help="Where the model runs.")
@click.option("--limit", type=click.IntRange(min=1), help="Read this many sentences of each file: a quick look, no figures to quote.")
def main(
    model: Path,
    shared: Path,
    only: list[str],
    start: str,
    prime: Path | None,
    prime_sentences: int,
    train: tuple[Path, ...],
    vocabulary: Path | None,
    device: str,
    limit: int | None,
) -> None:
    """What the layers of the model in MODEL_DIR know.

    Example: python -m tests.figures MODEL_DIR --only pos,bank > figures.json
    """
    vocabulary = vocabulary or model / "vocab.txt"
    if "perplexity" in only and not vocabulary.is_file():
        raise click.UsageError(f"{vocabulary}: no such file; pass --vocabulary FILE, or --only without perplexity")
    measures: dict[str, Callable[[], Figure]] = {
        "perplexity": lambda: measure_perplexity(shared, vocabulary, train or sorted((shared / "corpus" / "train").glob("*.zst")), limit)
    }
    if set(only) & set(EMBEDDED):
        embed = make_embed(load_embedder(model, device, start, prime, prime_sentences), start)
        measures |= {name: partial(measure, embed, shared, limit) for name, measure in EMBEDDED.items()}
    figures, seconds = {}, {}
    for name in only:
        began = time.monotonic()
        figures[name] = measures[name]()
        seconds[name] = round(time.monotonic() - began)
    settings = {
        "model": model.resolve().name,
        "start": start,
        "prime_sentences": prime_sentences if prime else 0,
        "limit": limit,
        "seconds": seconds,
    }
    click.echo(json.dumps({**settings, "figures": {name: figure._asdict() for name, figure in figures.items()}}, indent=1))
    click.echo(table(figures), err=True)


if __name__ == "__main__":
    try:
        main()
    except ElmoError as error:
        sys.exit(str(error))
