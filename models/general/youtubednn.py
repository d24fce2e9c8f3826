"""YouTubeDNN (Covington et al., RecSys 2016): a network over the mean of a history.

B users, L inputs, M items, E width of a vector.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from models.general.histories import mean_of_history
from models.general.kind import GeneralKind
from models.general.towers import Tower
from models.inputs.tables import Tables
from models.inputs.users import Users


@dataclass
class YouTubeDNNSettings:
    """YouTubeDNN.

    Args:
        kind: name of the general recommender.
        layers: number of layers over the mean of the history.
        dropout: dropout probability of the input of each layer.
    """

    kind: str = "youtubednn"
    layers: int = 2
    dropout: float = 0.0


class YouTubeDNN(nn.Module):
    """s(u, i) = f(mean of v_j over the items j of the history) · v_i, with f layers of h ← ReLU(W h + b).

    History and candidates share the vectors v of the item encoder. The last layer ends in a ReLU too, as in NineRec, so
    the vectors of users are not negative.

    Args:
        embedding_dim: E, width of all layers.
        layers: number of layers.
        dropout: dropout probability of the input of each layer.
        initial_std: standard deviation of the initial weights; by default Xavier normal.

    Raises:
        ValueError: if there is no layer.
    """

    def __init__(
        self,
        *,
        embedding_dim: int,
        layers: int = 2,
        dropout: float = 0.0,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers is {layers}; it must be at least 1")
        self._settings = {"embedding_dim": embedding_dim, "layers": layers, "dropout": dropout}
        self.tower = Tower(
            (layers + 1) * [embedding_dim],
            activation="relu",
            dropout=dropout,
            initial_std=initial_std,
        )

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the module (`YouTubeDNN(**settings)`), as a JSON object."""
        return self._settings

    def tables(self, vectors: Tensor | None) -> Tables:
        """The vectors of items, (M + 1, E), as they are."""
        assert vectors is not None
        return Tables(vectors)

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, E) from the histories."""
        return self.tower(mean_of_history(users.inputs, tables.items))


def _about(settings: YouTubeDNNSettings) -> str:
    return f"YouTubeDNN, {settings.layers} layers over the mean of a history"


YOUTUBEDNN = GeneralKind(
    settings=YouTubeDNNSettings,
    module=YouTubeDNN,
    noun="a YouTubeDNN model",
    about=_about,
    reads="vectors",
)
