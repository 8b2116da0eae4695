"""The encoded corpus, its vocabulary and windows; sampled softmax compared with the full one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from elmo_cli.errors import CorpusError, ModelError
from elmo_cli.nn.characters import CharacterMapper
from elmo_cli.training.bptt import make_streams, read_window
from elmo_cli.training.encoded_corpus import EncodedText, VocabularyChoice, encode_corpus, open_text
from elmo_cli.training.settings import Settings
from elmo_cli.training.softmax import (
    Candidates,
    Softmax,
    all_words,
    cross_entropy,
    log_expected_counts,
    log_uniform_words,
)
from elmo_cli.training.vocabulary import read_vocabulary, write_vocabulary

SENTENCES = ["the cat sat", "the dog", "a cat sat sat", "<S> the </S>", "🐈 the"]


def encode(folder: Path, **choice: object) -> tuple[EncodedText, list[str]]:
    _, words = encode_corpus(
        map(str.split, SENTENCES), folder, VocabularyChoice(**choice), CharacterMapper(), widest=3
    )
    return open_text(folder), words


def test_a_vocabulary_starts_with_the_special_words_and_falls_in_frequency(tmp_path: Path):
    _, words = encode(tmp_path)
    assert words == ["<S>", "</S>", "<UNK>", "the", "sat", "cat", "dog", "a", "🐈"]
    write_vocabulary(words, tmp_path / "vocab.txt")
    assert read_vocabulary(tmp_path / "vocab.txt") == words


def test_a_vocabulary_is_cut_by_size_and_by_count(tmp_path: Path):
    text, words = encode(tmp_path, size=5)
    assert words[3:] == ["the", "sat"]
    assert (text.facts.tokens, text.facts.sentences, text.facts.types, text.facts.unknown) == (
        12,
        5,
        9,
        5,
    )
    assert encode(tmp_path, min_count=2)[1][3:] == ["the", "sat", "cat"]
    with pytest.raises(CorpusError, match="keeps 'the' of the corpus's 6 words, but needs two"):
        encode(tmp_path, min_count=4)


def test_a_given_vocabulary_is_kept_word_for_word(tmp_path: Path):
    given = ["<S>", "</S>", "<UNK>", "absent", "cat"]
    text, words = encode(tmp_path, words=given)
    assert words == given
    assert text.facts.types == 10
    assert text.facts.unknown == 10


@pytest.mark.parametrize("content", ["a\nb\n", "<UNK>\n<S>\n</S>\na\n", "<S>\n</S>\n<UNK>\na\na\n"])
def test_a_vocabulary_of_another_kind_is_refused(tmp_path: Path, content: str):
    (tmp_path / "vocab.txt").write_text(content)
    with pytest.raises(ModelError):
        read_vocabulary(tmp_path / "vocab.txt")


def test_windows_pass_over_the_text_in_both_directions(tmp_path: Path):
    text, words = encode(tmp_path)
    streams = make_streams(text.facts.targets, n_streams=1, unroll=4)
    windows = [
        read_window(text, streams, step, 1.0, 0, slice(0, 1)) for step in range(streams.windows)
    ]
    types, targets, resets = (
        np.concatenate([np.asarray(window[i])[..., 0] for window in windows], axis=1)
        for i in range(3)
    )
    assert (
        " ".join(words[i] for i in types[0])
        == "<S> the cat sat <S> the dog <S> a cat sat sat <S> the <S> 🐈"
    )
    assert (
        " ".join(words[i] for i in targets[0])
        == "the cat sat </S> the dog </S> a cat sat sat </S> the </S> 🐈 the"
    )
    assert (
        " ".join(words[i] for i in types[1])
        == "</S> sat cat the </S> dog the </S> sat sat cat a </S> the </S> the"
    )
    assert (
        " ".join(words[i] for i in targets[1])
        == "sat cat the <S> dog the <S> sat sat cat a <S> the <S> the 🐈"
    )
    assert np.array_equal(resets, types == np.array([[0], [1]]))


def test_streams_are_contiguous_pieces_and_workers_read_their_own(tmp_path: Path):
    text, _ = encode(tmp_path)
    streams = make_streams(text.facts.targets, n_streams=4, unroll=2)
    assert streams == (4, 2, 4)
    whole = read_window(text, streams, 1, 0.5, 3, slice(0, 4))
    halves = [read_window(text, streams, 1, 0.5, 3, part) for part in (slice(0, 2), slice(2, 4))]
    for one, *two in zip(whole, *halves, strict=True):
        assert torch.equal(one, torch.cat(two, dim=-1))
    assert make_streams(5, n_streams=128, unroll=20) == (1, 5, 5)
    assert make_streams(100, n_streams=7, unroll=10, n_workers=2).n_streams == 6


def test_character_rows_are_those_of_embed(tmp_path: Path):
    text, words = encode(tmp_path)
    ids, lengths = text.rows(torch.arange(len(words)))
    assert torch.equal(ids[:, :50].long(), CharacterMapper().tokens_to_ids(words))
    assert lengths.tolist()[:5] == [3, 3, 7, 5, 5]


def test_sampled_softmax_has_the_optimum_of_the_full_one_in_expectation():
    counts = torch.tensor([40, 5, 20, 9, 1, 14, 3, 2, 5, 1])
    n_words, tries, generator = len(counts), 6, torch.Generator().manual_seed(0)
    targets = torch.arange(n_words).repeat_interleave(counts)
    hidden, softmax = torch.ones(len(targets), 1), Softmax(n_words, 1)
    with torch.no_grad():
        softmax.weight.zero_()
        softmax.bias.copy_(torch.log(counts / counts.sum()))  # the probabilities of the data

    def gradient(candidates: Candidates) -> torch.Tensor:
        return torch.autograd.grad(
            cross_entropy(hidden, targets, softmax, candidates, torch.float32), softmax.bias
        )[0]

    assert float(gradient(all_words(n_words)).abs().max()) < 1e-6
    log_expected = log_expected_counts(n_words, tries)
    drawn = [
        gradient(Candidates(log_uniform_words(n_words, tries, generator), log_expected))
        for _ in range(600)
    ]
    assert float(torch.stack(drawn).mean(0).abs().max()) < 0.01
    assert float(torch.stack(drawn).abs().mean(0).max()) > 0.02  # no single draw is at the optimum
    softmax.bias.data.zero_()
    drawn = [
        gradient(Candidates(log_uniform_words(n_words, tries, generator), log_expected))
        for _ in range(600)
    ]
    expected = gradient(all_words(n_words))
    assert float(functional.cosine_similarity(torch.stack(drawn).mean(0), expected, dim=0)) > 0.95


def test_sampled_softmax_becomes_the_full_one_as_samples_grow():
    generator, n_words = torch.Generator().manual_seed(0), 40
    softmax, hidden = Softmax(n_words, 4), torch.randn(90, 4, generator=generator)
    with torch.no_grad():
        softmax.weight.normal_(0, 0.5, generator=generator)
        softmax.bias.normal_(0, 0.5, generator=generator)
    targets = torch.randint(n_words, (90,), generator=generator)
    full = functional.cross_entropy(hidden @ softmax.weight.T + softmax.bias, targets)
    candidates = Candidates(
        log_uniform_words(n_words, 3000, generator), log_expected_counts(n_words, 3000)
    )
    assert len(candidates.words) == n_words
    for found in (all_words(n_words), candidates):
        assert float(
            cross_entropy(hidden, targets, softmax, found, torch.float32).detach()
        ) == pytest.approx(float(full.detach()), rel=1e-4)


def test_expected_counts_are_met():
    generator, n_words, tries = torch.Generator().manual_seed(1), 50, 30
    counts = torch.zeros(n_words)
    for _ in range(1500):
        counts[log_uniform_words(n_words, tries, generator)] += 1
    torch.testing.assert_close(
        counts / 1500, log_expected_counts(n_words, tries).exp(), rtol=0, atol=0.05
    )


def test_the_learning_rate_warms_up_and_falls_as_a_cosine():
    settings = Settings(learning_rate=1.0, warm_up=10, steps=100)
    assert settings.rate(0, 0.0) == pytest.approx(0.1)
    assert settings.rate(50, 0.5) == pytest.approx(0.525)
    assert settings.rate(99, 1.0) == pytest.approx(0.05)
    assert Settings(optimizer="adagrad", learning_rate=0.2).rate(0, 0.9) == 0.2
    assert Settings(minutes=2, steps=100).share_done(10, 100, seconds=60) == 0.5
