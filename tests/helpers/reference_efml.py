"""ELMoForManyLangs in plain numpy float64, and synthetic models in its format.

It is independent of the package, and reads the files itself.
"""

import json
from pathlib import Path

import numpy as np
import torch

from tests.helpers.reference import sigmoid

CONFIG = {
    "encoder": {
        "name": "elmo",
        "projection_dim": 6,
        "cell_clip": 3,
        "proj_clip": 3,
        "dim": 10,
        "n_layers": 2,
    },
    "token_embedder": {
        "name": "cnn",
        "activation": "relu",
        "filters": [[1, 3], [2, 4], [3, 5]],
        "n_highway": 2,
        "word_dim": 7,
        "char_dim": 5,
        "max_characters_per_token": 50,
    },
    "dropout": 0.1,
}
WORDS = ["<oov>", "<bos>", "<eos>", "<pad>", "the", "cat", "naïve", "日本", "x" * 48]
CHARACTERS = [
    *"abcdehilnotsvx.ï日本ğ",
    "\u3000",
    "<bos>",
    "<eos>",
    "<oov>",
    "<pad>",
    "<bow>",
    "<eow>",
]


def make_efml(
    folder: Path, seed: int = 1, config_path: str = "tiny_config.json", **changes: object
) -> Path:
    """Write a random model: a key of either part of the config may be changed."""
    config = json.loads(json.dumps(CONFIG))
    for key, value in changes.items():
        next(part for part in (config["encoder"], config["token_embedder"]) if key in part)[key] = (
            value
        )
    encoder, tokens = config["encoder"], config["token_embedder"]
    out, dim, n = (
        encoder["projection_dim"],
        encoder["dim"],
        sum(number for _, number in tokens["filters"]) if tokens["char_dim"] else 0,
    )
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 0.0) -> torch.Tensor:
        return torch.randn(shape, generator=random) * (scale or 1.7 / np.sqrt(np.prod(shape[1:])))

    embedder = {}
    if tokens["word_dim"]:
        embedder["word_emb_layer.embedding.weight"] = normal(
            len(WORDS), tokens["word_dim"], scale=1
        )
    if tokens["char_dim"]:
        embedder["char_emb_layer.embedding.weight"] = normal(
            len(CHARACTERS), tokens["char_dim"], scale=1
        )
        for i, (width, number) in enumerate(tokens["filters"]):
            embedder[f"convolutions.{i}.weight"] = normal(number, tokens["char_dim"], width)
            embedder[f"convolutions.{i}.bias"] = normal(number, scale=0.3)
        for k in range(tokens["n_highway"]):
            embedder[f"highways._layers.{k}.weight"] = normal(2 * n, n)
            embedder[f"highways._layers.{k}.bias"] = normal(2 * n, scale=0.3)
    embedder["projection.weight"] = normal(out, tokens["word_dim"] + n)
    embedder["projection.bias"] = normal(out, scale=0.1)
    recurrent = {}
    for direction in ("forward", "backward"):
        for layer in range(encoder["n_layers"]):
            name = f"{direction}_layer_{layer}"
            recurrent[f"{name}.input_linearity.weight"] = normal(4 * dim, out)
            recurrent[f"{name}.state_linearity.weight"] = normal(4 * dim, out)
            recurrent[f"{name}.state_linearity.bias"] = normal(4 * dim, scale=0.5)
            recurrent[f"{name}.state_projection.weight"] = normal(out, dim)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(embedder, folder / "token_embedder.pkl")
    torch.save(recurrent, folder / "encoder.pkl")
    (folder / "tiny_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(
        json.dumps({"config_path": config_path, "model": "/home/author/model", "seed": 1})
    )
    for name, entries in [("word.dic", WORDS), ("char.dic", CHARACTERS)]:
        (folder / name).write_text(
            "".join(f"{entry}\t{i}\n" for i, entry in enumerate(entries)), encoding="utf-8"
        )
    return folder


class ReferenceEfml:
    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "tiny_config.json").read_text())
        self.encoder, self.embedder = config["encoder"], config["token_embedder"]
        self.tensors = {
            name: value.double().numpy()
            for file in ("token_embedder.pkl", "encoder.pkl")
            for name, value in torch.load(folder / file, weights_only=True).items()
        }
        self.words, self.characters = (
            self.dictionary(folder / name) for name in ("word.dic", "char.dic")
        )

    @staticmethod
    def dictionary(path: Path) -> dict[str, int]:
        rows = {}
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            fields = line.strip().split("\t")
            token, row = fields if len(fields) == 2 else ("\u3000", fields[0])
            rows[token] = int(row)
        return rows

    def embed(self, sentence: list[str]) -> np.ndarray:
        """All layers of a sentence from the zero state, (layer, token, dim)."""
        inputs = [self.token(t) for t in ["<bos>", *sentence, "<eos>"]]
        forward = self.direction("forward", inputs)
        backward = [layer[::-1] for layer in self.direction("backward", inputs[::-1])]
        layers = [np.concatenate([inputs, inputs], axis=1)]
        layers += [np.concatenate([f, b], axis=1) for f, b in zip(forward, backward, strict=True)]
        return np.stack(layers)[:, 1:-1]

    def token(self, token: str) -> np.ndarray:
        token = token[: self.embedder["max_characters_per_token"] - 2]
        parts = []
        if self.embedder["word_dim"]:
            parts.append(
                self.tensors["word_emb_layer.embedding.weight"][
                    self.words.get(token, self.words["<oov>"])
                ]
            )
        if self.embedder["char_dim"]:
            parts.append(self.spelling(token))
        return (
            self.tensors["projection.weight"] @ np.concatenate(parts)
            + self.tensors["projection.bias"]
        )

    def spelling(self, token: str) -> np.ndarray:
        inside = [token] if token in ("<bos>", "<eos>") else list(token)
        ids = [self.characters.get(c, self.characters["<oov>"]) for c in inside]
        ids = [self.characters["<eow>"], *ids, self.characters["<bow>"]]  # swapped, as there
        ids += [self.characters["<pad>"]] * (self.embedder["max_characters_per_token"] - len(ids))
        x = self.tensors["char_emb_layer.embedding.weight"][ids]
        features = []
        activate = {"relu": lambda values: np.maximum(values, 0), "tanh": np.tanh}[
            self.embedder["activation"]
        ]
        for i, (width, _) in enumerate(self.embedder["filters"]):
            # The kernel is (out, in, width)
            kernel, bias = (
                self.tensors[f"convolutions.{i}.weight"],
                self.tensors[f"convolutions.{i}.bias"],
            )
            spots = [
                np.einsum("oiw,wi->o", kernel, x[p : p + width]) + bias
                for p in range(len(ids) - width + 1)
            ]
            features.append(activate(np.max(spots, axis=0)))
        y = np.concatenate(features)
        for k in range(self.embedder["n_highway"]):
            transformed, gate = np.split(
                self.tensors[f"highways._layers.{k}.weight"] @ y
                + self.tensors[f"highways._layers.{k}.bias"],
                2,
            )
            y = sigmoid(gate) * y + (1 - sigmoid(gate)) * np.maximum(transformed, 0)
        return y

    def direction(self, direction: str, inputs: list[np.ndarray]) -> list[np.ndarray]:
        outputs = []
        for layer in range(self.encoder["n_layers"]):
            name = f"{direction}_layer_{layer}"
            hidden, cell = np.zeros(self.encoder["projection_dim"]), np.zeros(self.encoder["dim"])
            below, inputs = inputs, []
            for x in below:
                gates = (
                    self.tensors[f"{name}.input_linearity.weight"] @ x
                    + self.tensors[f"{name}.state_linearity.bias"]
                )
                i, f, g, o = np.split(
                    gates + self.tensors[f"{name}.state_linearity.weight"] @ hidden, 4
                )
                cell = self.clip(
                    sigmoid(i) * np.tanh(g) + sigmoid(f) * cell, self.encoder["cell_clip"]
                )
                hidden = self.tensors[f"{name}.state_projection.weight"] @ (
                    sigmoid(o) * np.tanh(cell)
                )
                hidden = self.clip(hidden, self.encoder["proj_clip"])
                inputs.append(hidden + x if layer > 0 else hidden)
            outputs.append(np.stack(inputs))
        return outputs

    @staticmethod
    def clip(x: np.ndarray, limit: float | None) -> np.ndarray:
        return np.clip(x, -limit, limit) if limit else x
