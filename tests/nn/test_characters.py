import torch
from hypothesis import given
from hypothesis import strategies as st

from elmo_cli import batch_to_ids
from elmo_cli.nn.characters import BEGIN_WORD, END_WORD, PADDING, CharacterMapper


def test_a_token_is_its_bytes_plus_one_between_word_markers():
    row = CharacterMapper().token_ids("né").tolist()
    assert row == [259, 0x6E + 1, 0xC3 + 1, 0xA9 + 1, 260] + [261] * 45


def test_boundary_tokens_become_their_markers():
    assert CharacterMapper().token_ids("<S>").tolist()[:4] == [259, 257, 260, 261]
    assert CharacterMapper().token_ids("</S>").tolist()[:4] == [259, 258, 260, 261]
    assert CharacterMapper().token_ids("<s>").tolist()[1] == ord("<") + 1


def test_a_long_token_is_cut_at_48_bytes_even_inside_a_letter():
    mapper = CharacterMapper()
    row = mapper.token_ids("a" * 47 + "é").tolist()
    assert row[48:] == [0xC3 + 1, 260]
    assert mapper.is_truncated("a" * 47 + "é")
    assert not mapper.is_truncated("a" * 48)


def test_a_lone_surrogate_is_left_out():
    assert (
        CharacterMapper().token_ids("a\ud800b").tolist()
        == CharacterMapper().token_ids("ab").tolist()
    )


def test_batch_to_ids_fills_short_sentences_with_zeros():
    ids = batch_to_ids([["a", "b"], ["c"], []])
    assert ids.shape == (3, 2, 50)
    assert ids.dtype == torch.int64
    assert ids[1, 1].eq(0).all()
    assert ids[2].eq(0).all()


@given(st.text(max_size=80), st.integers(3, 60))
def test_every_row_has_one_begin_one_end_and_padding_behind(token: str, width: int):
    row = CharacterMapper(width).token_ids(token).tolist()
    end = row.index(END_WORD)
    assert len(row) == width
    assert row[0] == BEGIN_WORD
    assert set(row[end + 1 :]) <= {PADDING}
    assert PADDING not in row[:end]
