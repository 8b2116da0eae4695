"""Reference implementation: padded sentences, with every token encoded, as AllenNLP does.

`elmo bench` and the tests compare with it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from elmo_cli.nn.bilm import DIRECTIONS, BiLM
from elmo_cli.nn.lstm import LstmState, run_by_definition


@torch.inference_mode()
def embed_padded(bilm: BiLM, batch: Sequence[Sequence[str]]) -> list[Tensor]:
    """Compute every layer of each sentence from the zero state.

    Args:
        bilm: The network.
        batch: Sentences, lists of tokens.

    Returns:
        An array (layer, token, dim) per sentence, without the boundaries.
    """
    sentences = [[bilm.mapper.bos, *tokens, bilm.mapper.eos] for tokens in batch]
    lengths = torch.tensor([len(sentence) for sentence in sentences])
    longest = int(lengths.max())
    ids = torch.stack(
        [
            bilm.mapper.tokens_to_ids([*sentence, *[""] * (longest - len(sentence))])
            for sentence in sentences
        ]
    )
    # Vectors of the tokens, (sentence, position, projection_dim)
    tokens = bilm.character_encoder(ids.flatten(0, 1)).view(len(batch), longest, -1)
    halves = [_run_direction(bilm, direction, tokens, lengths) for direction in range(DIRECTIONS)]
    layers = [
        tokens.repeat(1, 1, DIRECTIONS),
        *(torch.cat(pair, dim=2) for pair in zip(*halves, strict=True)),
    ]
    return [
        torch.stack([layer[i, 1 : length - 1] for layer in layers])
        for i, length in enumerate(lengths.tolist())
    ]


def _run_direction(bilm: BiLM, direction: int, tokens: Tensor, lengths: Tensor) -> list[Tensor]:
    """Return one direction's half of each biLSTM layer, (sentence, position, projection_dim)."""
    n_sentences, longest, _ = tokens.shape
    steps = torch.arange(longest)
    # Padding stays after the end
    reverse = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    order = (reverse if direction else steps.expand(n_sentences, -1))[..., None]
    inputs, outputs = tokens.take_along_dim(order, 1), []
    for layer, lstm in enumerate(bilm.lstms(direction)):
        zero = LstmState(*(part[direction, layer] for part in bilm.zero_state(n_sentences)))
        rows, _ = run_by_definition(
            lstm, inputs.transpose(0, 1).flatten(0, 1), [n_sentences] * longest, zero
        )
        output = rows.view(longest, n_sentences, -1).transpose(0, 1)
        inputs = output + inputs if layer > 0 and bilm.config.use_skip_connections else output
        outputs.append(inputs.take_along_dim(order, 1))
    return outputs
