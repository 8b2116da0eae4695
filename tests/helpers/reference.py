"""ELMo in plain numpy float64, one token and one step at a time, independent of the package.

It is written from Peters et al. (2018) and from the published files, which it reads itself.
"""

import json
from pathlib import Path

import h5py
import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class ReferenceElmo:
    def __init__(self, options: Path, weights: Path) -> None:
        self.options = json.loads(options.read_text())
        self.lstm = self.options["lstm"]
        self.cnn = self.options["char_cnn"]
        with h5py.File(weights) as file:
            self.tensors = {}
            file.visititems(
                lambda name, item: (
                    self.tensors.update({name: item[:].astype(np.float64)})
                    if hasattr(item, "shape")
                    else None
                )
            )
        self.zero_state()

    def zero_state(self) -> None:
        layers, projection, cell = (
            self.lstm["n_layers"],
            self.lstm["projection_dim"],
            self.lstm["dim"],
        )
        self.state = {
            (d, n): (np.zeros(projection), np.zeros(cell)) for d in range(2) for n in range(layers)
        }

    def embed(self, tokens: list[str]) -> np.ndarray:
        """All layers of a sentence, (layer, token, dim), from the state, which it changes."""
        inputs = [self.token(t) for t in ["<S>", *tokens, "</S>"]]
        forward = self.direction(0, inputs)
        backward = [layer[::-1] for layer in self.direction(1, inputs[::-1])]
        layers = [np.concatenate([inputs, inputs], axis=1)]
        layers += [np.concatenate([f, b], axis=1) for f, b in zip(forward, backward, strict=True)]
        return np.stack(layers)[:, 1:-1]

    def direction(self, direction: int, inputs: list[np.ndarray]) -> list[np.ndarray]:
        outputs = []
        for layer in range(self.lstm["n_layers"]):
            below, inputs = inputs, []
            for x in below:
                hidden, cell = self.step(direction, layer, x)
                self.state[direction, layer] = (hidden, cell)
                inputs.append(
                    hidden + x if layer > 0 and self.lstm.get("use_skip_connections") else hidden
                )
            outputs.append(np.stack(inputs))
        return outputs

    def step(self, direction: int, layer: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        name = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
        hidden, cell = self.state[direction, layer]
        gates = (
            np.concatenate([x, hidden]) @ self.tensors[f"{name}/W_0"] + self.tensors[f"{name}/B"]
        )
        i, j, f, o = np.split(gates, 4)
        cell = self.clip(sigmoid(f + 1) * cell + sigmoid(i) * np.tanh(j), "cell_clip")
        hidden = sigmoid(o) * np.tanh(cell)
        if f"{name}/W_P_0" in self.tensors:
            hidden = self.clip(hidden @ self.tensors[f"{name}/W_P_0"], "proj_clip")
        return hidden, cell

    def clip(self, x: np.ndarray, which: str) -> np.ndarray:
        limit = self.lstm.get(which)
        return np.clip(x, -limit, limit) if limit else x

    def token(self, token: str) -> np.ndarray:
        table = self.tensors["char_embed"]
        characters = np.stack([table[c] for c in self.characters(token)])
        activate = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh}[self.cnn["activation"]]
        features = []
        for n, (width, _) in enumerate(self.cnn["filters"]):
            # The kernel is (width, in, out)
            kernel, bias = self.tensors[f"CNN/W_cnn_{n}"][0], self.tensors[f"CNN/b_cnn_{n}"]
            spots = [
                np.einsum("wi,wio->o", characters[p : p + width], kernel) + bias
                for p in range(len(characters) - width + 1)
            ]
            features.append(activate(np.max(spots, axis=0)))
        x = np.concatenate(features)
        for k in range(self.cnn.get("n_highway") or 0):
            carry = sigmoid(
                x @ self.tensors[f"CNN_high_{k}/W_carry"] + self.tensors[f"CNN_high_{k}/b_carry"]
            )
            transformed = np.maximum(
                x @ self.tensors[f"CNN_high_{k}/W_transform"]
                + self.tensors[f"CNN_high_{k}/b_transform"],
                0,
            )
            x = carry * transformed + (1 - carry) * x
        if "CNN_proj/W_proj" in self.tensors:
            x = x @ self.tensors["CNN_proj/W_proj"] + self.tensors["CNN_proj/b_proj"]
        return x

    def characters(self, token: str) -> list[int]:
        """Rows of the character table: 256 sentence begin, 257 sentence end, 258 word begin, 259
        word end, 260 padding.
        """
        width = self.cnn.get("max_characters_per_token", 50)
        inside = {"<S>": [256], "</S>": [257]}.get(token) or list(token.encode())[: width - 2]
        row = [258, *inside, 259]
        return row + [260] * (width - len(row))
