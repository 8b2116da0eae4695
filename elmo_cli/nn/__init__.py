"""The ELMo network: characters, biLM, LSTM, scalar mix, Elmo; `kernels` has its fast path."""

from typing import TYPE_CHECKING

from elmo_cli.lazy import lazy_names

if TYPE_CHECKING:
    from elmo_cli.nn.bilm import BiLM, BiLMConfig, BiLMState
    from elmo_cli.nn.characters import CharacterMapper
    from elmo_cli.nn.elmo import ElmoRepresentations
    from elmo_cli.nn.lstm import LstmCellWithProjection
    from elmo_cli.nn.scalar_mix import FixedMix, ScalarMix

__all__ = [
    "BiLM",
    "BiLMConfig",
    "BiLMState",
    "CharacterMapper",
    "ElmoRepresentations",
    "FixedMix",
    "LstmCellWithProjection",
    "ScalarMix",
]

__getattr__ = lazy_names(
    __name__,
    {
        "BiLM": "elmo_cli.nn.bilm",
        "BiLMConfig": "elmo_cli.nn.bilm",
        "BiLMState": "elmo_cli.nn.bilm",
        "CharacterMapper": "elmo_cli.nn.characters",
        "ElmoRepresentations": "elmo_cli.nn.elmo",
        "FixedMix": "elmo_cli.nn.scalar_mix",
        "LstmCellWithProjection": "elmo_cli.nn.lstm",
        "ScalarMix": "elmo_cli.nn.scalar_mix",
    },
)
