"""Default sizes of batches and windows, by the device."""

import torch

from elmo_cli.nn.batching import BATCH_TOKENS, GPU_WINDOW_TOKENS
from elmo_cli.nn.bilm import BiLMConfig
from elmo_cli.types import WINDOW_TOKENS


def batch_tokens_for(config: BiLMConfig, device: str) -> int:
    """Return the number of tokens computed together. On a GPU, they fit half its free memory."""
    if not device.startswith("cuda"):
        return BATCH_TOKENS
    free, _ = torch.cuda.mem_get_info(device)
    gates, layers = 4 * config.lstm_dim, config.n_output_layers * config.output_dim
    # Bytes in float32, at most: as if every token were a type of its own
    of_token = 4 * (2 * gates + 2 * config.lstm_dim + 4 * layers)
    return max(BATCH_TOKENS, min(GPU_WINDOW_TOKENS, free // (2 * of_token)))


def window_tokens_for(device: str) -> int:
    """Return the number of tokens sorted and written together, larger on a GPU (larger batches)."""
    return GPU_WINDOW_TOKENS if device.startswith("cuda") else WINDOW_TOKENS
