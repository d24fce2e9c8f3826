"""The declaration of a general recommender: a model of users and items that does not read the order of a history.

B users, L inputs, M columns, C items, S training users, N items, R rows of a batch, E width of a vector.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from inspect import signature
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from models.inputs.interactions import Interactions
from models.inputs.tables import Tables
from models.inputs.users import Users
from toolkit.errors import UserError

ReadsItems = Literal["numbers", "vectors", "features"]


class GeneralModel(Protocol):
    """The network of a general recommender, a module.

    Optional members:
        `observe(interactions, features)`: takes the training interactions (and, if it reads features, `{tower: (N + 1, D)}`,
            row 0 zeros) before training. It may add parameters that depend on the features. A model without a loss
            (`GeneralKind.trains` false) is complete afterwards.
        `tables_of(items)`: `tables(None)` with the rows of (U,) item numbers only, without row 0, (U, E), if they do not
            depend on other items. Training calls it.
        `scores(users, items)`: (..., B, E), (..., C, E) -> (..., B, C), if scores are not dot products; with
            `values_per_score`, the number of values that one score takes in memory, and `scores_all_items`, whether it
            computes the scores of all N items, whatever the items are.
        `penalty(batch)`: a scalar that is added to the loss of a batch (`models.inputs.batch.Batch`).
    """

    def tables(self, vectors: Tensor | None) -> Tables:
        """The tables of items and users.

        Args:
            vectors: (M + 1, E) from the item encoder, row 0 zeros; in training of the columns of the batch, in ranking of
                all N items. None for a model that reads item numbers or features, whose table has N + 1 rows.
        """
        ...

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, E) vectors of users. `users.inputs` are rows of `tables.items`."""
        ...

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the module, with the sizes of all its tensors, as a JSON object."""
        ...


@dataclass(frozen=True)
class GeneralKind:
    """A general recommender.

    Args:
        settings: dataclass of its settings. Its fields are the keys of `--recommender.`: `kind`, whose default is its name
            in `GENERAL`, and the module's own arguments.
        module: class of the module, built as `module(users=S, items=N, embedding_dim=E, **settings)` without the arguments
            among users, items, embedding_dim, max_len and initial_std that its signature does not have.
        noun: name of such a model in messages, such as `an EASE model`.
        about: returns a sentence for the model card; its argument is the settings.
        reads: what it reads of items: `numbers`; `vectors` of an item encoder (`--item`), which trains with it; or
            `features`, the last of the stored states of each tower, which stay as they are.
        trains: whether it is trained by gradient descent; otherwise `observe` computes it, without epochs.
        needs_user: whether it has vectors for its training users only, so that it cannot recommend for other histories.
    """

    settings: type
    module: type[nn.Module]
    noun: str
    about: Callable[[Any], str]
    reads: ReadsItems = "numbers"
    trains: bool = True
    needs_user: bool = False

    def build(
        self,
        settings: Any,
        *,
        users: int,
        items: int,
        embedding_dim: int,
        max_len: int | None = None,
        initial_std: float | None = None,
    ) -> nn.Module:
        """Builds a new model.

        Args:
            settings: an instance of this kind's `settings`.
            users: S, number of training users.
            items: N, number of items.
            embedding_dim: E of the item encoder, or of the model's own vectors.
            max_len: L, the maximum number of inputs, which a model with weights for each of them requires.
            initial_std: standard deviation of initial vectors; None for the model's own initialisation.

        Raises:
            UserError: if the model refuses a setting.
        """
        values = {f.name: getattr(settings, f.name) for f in fields(settings) if f.name != "kind"}
        shared = {"users": users, "items": items, "embedding_dim": embedding_dim}
        if max_len is not None:
            shared["max_len"] = max_len
        if initial_std is not None:
            shared["initial_std"] = initial_std  # type: ignore[assignment]
        known = signature(self.module).parameters
        shared = {key: value for key, value in shared.items() if key in known}
        try:
            return self.module(**shared, **values)
        except ValueError as error:
            raise UserError(f"recommender.kind {settings.kind}: {error}") from None

    def describe(self, model: nn.Module) -> dict[str, Any]:
        """What `load` needs to rebuild a model, as a JSON object."""
        settings: dict[str, Any] = model.settings()  # type: ignore[operator]
        return settings

    def load(self, settings: Mapping[str, Any]) -> nn.Module:
        """Rebuilds a model from the result of `describe`."""
        return self.module(**settings)


def observe(
    model: nn.Module, interactions: Interactions, features: Mapping[str, Tensor] | None = None
) -> None:
    """Gives a new model the training interactions, if it reads them as a whole."""
    if hasattr(model, "observe"):
        model.observe(interactions, features or {})  # type: ignore[operator]
