"""Architecture of a biLM, in the terms of options.json."""

from dataclasses import dataclass

DIRECTIONS = 2  # 0 forward, 1 backward, as in the weight files


@dataclass(frozen=True)
class BiLMConfig:
    """Architecture of a biLM, in the terms of options.json.

    Attributes:
        filters: Width and number of filters of each convolution.
        character_dim: Dimension of a character vector.
        n_highway: Number of highway layers.
        activation: Activation of the convolutions, "relu" or "tanh".
        max_characters: Characters per token, with the two word markers.
        projection_dim: Dimension of a token vector, and of the output of each direction.
        lstm_dim: Dimension of an LSTM cell.
        n_layers: Number of biLSTM layers.
        cell_clip: Limit of the absolute values of a cell; None: no limit.
        projection_clip: Limit of the absolute values of a projection; None: no limit.
        use_skip_connections: Whether a layer above the first adds its input to its output.
        project_characters: Whether the CNN output is projected; files omit the projection if the
            filters add up to projection_dim.
        project_cell: Whether the cell output is projected; files omit the projection if lstm_dim
            equals projection_dim.
    """

    filters: tuple[tuple[int, int], ...]
    character_dim: int
    n_highway: int
    activation: str
    max_characters: int
    projection_dim: int
    lstm_dim: int
    n_layers: int
    cell_clip: float | None
    projection_clip: float | None
    use_skip_connections: bool
    project_characters: bool = True
    project_cell: bool = True

    @property
    def n_filters(self) -> int:
        """Dimension of the output of the character CNN."""
        return sum(number for _, number in self.filters)

    @property
    def output_dim(self) -> int:
        """Dimension of a layer's vectors, the concatenation of both directions."""
        return DIRECTIONS * self.projection_dim

    @property
    def n_output_layers(self) -> int:
        """Number of layers that represent a token: the token layer and the biLSTM layers."""
        return self.n_layers + 1
