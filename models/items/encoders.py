"""Item vectors from encoders that train: raw content through each tower's encoder, in the graph.

U items, N items of a dataset, S tokens, D width, E embedding.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from models.adaptation import adapt, check_gradients, expect_zero, method_settings
from models.adaptation.anatomy import layers_of
from models.adaptation.samples import spare_inputs
from models.fusion import FUSIONS, Concat, MakeFusion
from models.fusion.kind import describe_fusion, differing, joins_of
from models.items.encoder_settings import EncoderSettings
from models.items.heads import Head, HeadActivation, HeadSettings
from models.items.kind import ID_TOWER, ItemKind
from models.items.part_names import by_tower, part_name
from models.items.pooled import about_parts, check_parts, join, make_fusion, make_vectors
from models.items.stored_tokens import keep_trained_layers, required_tokens
from toolkit.backbones import Encoder, EncoderSpec, load_encoder
from toolkit.backbones.encoder import Preparer
from toolkit.backbones.prepared import Prepared, prepare_items
from toolkit.backbones.resolve import portable
from toolkit.backbones.token_states import TokenStates, single_tokens
from toolkit.errors import UserError

Load = Callable[[EncoderSpec], Encoder]
# Of a model folder, which holds a whole model: code and stored token states are the decision of whoever loads it.
_NOT_SAVED = {"trust_remote_code", "from_layer"}


def load_to_train(spec: EncoderSpec) -> Encoder:
    """An encoder that reads the state of its last layer through its final norm, which then trains too."""
    return load_encoder(spec, final_norm=True)


class TrainedEncoders(nn.Module):
    """Item vectors from encoders that train, a head each, and a learned vector per item where `id` is a tower.

    Each item is encoded once, whatever its position in the sequences of a step. An item without a source has a learned
    state of its tower. A fusion of tokens reads every token through its tower's head, and the learned state and the
    learned vector as one token each; other fusions read pooled states. A tower that trains on stored token states (`tokens` has the settings that these must have) reads
    them instead of its source. Towers whose encoders are the same, and are to be shared, are one set of weights.

    Args:
        encoders: settings of each tower's encoder, complete (`resolve_encoders`).
        parts: names of the towers and, for a learned vector per item, `id`, in the order in which they are joined; by
            default the towers.
        items: N, which `id` requires.
        embedding_dim: E.
        layers: of each head (`models.items.heads.Head`).
        dropout: of each head; that of an encoder is among its settings.
        activation: of each head.
        initial_std: of the learned vectors.
        fusion: makes the module that joins the parts: `fusion(parts=NAMES, embedding_dim=E)`.
        revisions: by tower, the revision that its encoder must have; none is required where a tower is absent.
        own_base: towers whose encoders are saved whole (`keep_base`).
        load: loads an encoder.

    Raises:
        UserError: if an encoder cannot be found, is of another revision, or cannot be adapted so.
        ValueError: if there is no part, a name is used twice, or parts name another tower.
    """

    def __init__(
        self,
        encoders: Mapping[str, EncoderSettings],
        *,
        parts: Sequence[str] | None = None,
        items: int | None = None,
        embedding_dim: int = 64,
        layers: int = 0,
        dropout: float = 0.0,
        activation: HeadActivation = "gelu",
        initial_std: float | None = None,
        fusion: MakeFusion = Concat,
        revisions: Mapping[str, str] | None = None,
        own_base: Collection[str] = (),
        load: Load = load_to_train,
    ) -> None:
        super().__init__()
        self.chosen = dict(encoders)
        self.joined = check_parts(list(encoders), parts, items)
        self.embedding_dim = embedding_dim
        self.layers = layers
        self.dropout = dropout
        self.activation = activation
        self.items = items if ID_TOWER in self.joined else None
        self.owners = _owners(self.chosen)
        self.preparers: dict[str, Preparer] = {}
        self.revisions: dict[str, str] = {}
        self.tokens: dict[str, dict[str, Any]] = {}
        loaded: dict[str, Encoder] = {}
        removed: dict[str, int] = {}  # layers of each encoder that stored token states stand for
        base: set[int] = set()
        for name, settings in self.chosen.items():
            encoder = load(settings.spec)
            _refuse_other_base(name, encoder, (revisions or {}).get(name))
            self.revisions[name] = encoder.revision
            if self.owners[name] == name:
                before = {id(tensor) for tensor in _tensors(encoder)}
                loaded[name] = _adapted(encoder, settings)
                if settings.from_layer:
                    removed[name] = keep_trained_layers(encoder, settings.adapt or "full")
                base |= before & {id(tensor) for tensor in _tensors(encoder)}
            if settings.from_layer:
                owner = self.owners[name]
                self.tokens[name] = required_tokens(encoder, removed[owner])
                self.preparers[name] = loaded[owner].prepare
            else:
                self.preparers[name] = encoder.prepare
        self.encoders = by_tower(loaded, loaded.values())
        widths = {name: loaded[owner].widths[-1] for name, owner in self.owners.items()}
        self.heads = by_tower(
            widths,
            (
                Head(width, embedding_dim, layers=layers, dropout=dropout, activation=activation)
                for width in widths.values()
            ),
        )
        self.missing = by_tower(widths, map(_Missing, widths.values()))
        self.vectors = make_vectors(self.items, embedding_dim, initial_std)
        self.fusion = make_fusion(fusion, self.joined, embedding_dim)
        self.unchecked, self.used = set(self.encoders), set[str]()  # by key in `encoders`
        self.calls: Callable[[int], int] = int  # see `models.machine.sharding.Shardable`
        # Of the encoders as they were loaded: model folders and checkpoints leave them out (`models.parameters`).
        state = self.state_dict(keep_vars=True)
        self.loaded_names = frozenset(name for name, tensor in state.items() if id(tensor) in base)
        self.base_names = frozenset(x for x in self.loaded_names if not state[x].requires_grad)
        self.own_base: set[str] = set()
        self.keep_base(own_base)

    @property
    def sources(self) -> dict[str, str]:
        """What each tower reads."""
        return {name: settings.spec.source for name, settings in self.chosen.items()}

    def units(self) -> Iterator[tuple[nn.Module, list[nn.Module]]]:
        """Each encoder, with its layers."""
        for encoder in self.encoders.values():
            layers = chain.from_iterable(layers_of(encoder))
            yield encoder, [layer for layer in layers if any(True for _ in layer.parameters())]

    def keep_base(self, towers: Collection[str]) -> None:
        """Has the encoders of some towers saved whole, also what does not train: they are no longer as published.

        Args:
            towers: whose encoders began with the weights of another model (`init_from`).
        """
        self.own_base |= {self.owners[name] for name in towers}
        inside = tuple(f"encoders.{part_name(name)}." for name in self.own_base)
        self.base_names = frozenset(x for x in self.base_names if not x.startswith(inside))

    def checkpoint_activations(self) -> None:
        """Has each encoder compute the activations in its layers again in the backward pass, instead of keeping them.

        Raises:
            UserError: if an encoder cannot.
        """
        for encoder in self.encoders.values():
            _checkpoint_activations(encoder)  # type: ignore[arg-type]

    def check_gradients(self) -> bool:
        """Checks after a backward pass that what is to train has a gradient, and nothing else.

        An encoder is checked once, after the first step in which an item has a source for it.

        Returns:
            Whether all encoders have been checked.

        Raises:
            UserError: naming the parameters that have none, or should have none.
        """
        now = sorted(self.unchecked & self.used)
        check_gradients(nn.ModuleDict({key: self.encoders[key] for key in now}))
        self.unchecked -= self.used
        return not self.unchecked

    def settings(self) -> dict[str, Any]:
        """What `load_encoders(settings)` needs to build it again, as JSON can hold it."""
        described = {
            name: {
                **{key: value for key, value in asdict(chosen).items() if key not in _NOT_SAVED},
                "encoder": portable(str(chosen.encoder)),
            }
            for name, chosen in self.chosen.items()
        }
        return {
            "encoders": described,
            "revisions": dict(self.revisions),
            "parts": list(self.joined),
            "embedding_dim": self.embedding_dim,
            "layers": self.layers,
            "dropout": self.dropout,
            **differing(HeadSettings, {"activation": self.activation}),
            **({"own_base": sorted(self.own_base)} if self.own_base else {}),
            **({} if self.items is None else {"items": self.items}),
            **({} if self.fusion is None else {"fusion": describe_fusion(self.fusion, FUSIONS)}),
        }

    def prepare(self, payloads: Mapping[str, Sequence[Any]]) -> dict[str, Prepared]:
        """What `forward` reads of U items, from the source of each by tower; None for an item without one."""
        return {
            name: prepare_items(self.preparers[name], read)[0] for name, read in payloads.items()
        }

    def parts(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """What the fusion joins, in order: vectors (U, E), or the states of tokens (U, S, E).

        Args:
            features: by tower what `models.inputs.sources` prepares of U items; and item numbers (U,) as `id`.

        Raises:
            ValueError: if a tower is absent.
        """
        absent = sorted(set(self.joined) - set(features))
        if absent:
            raise ValueError(f"inputs of {absent} are absent (given: {sorted(features)})")
        return {name: self._part(name, features) for name in self.joined}

    def forward(self, features: Mapping[str, Any]) -> Tensor:
        """`{tower: inputs of U items, "id": (U,)}` -> (U, E)."""
        return join(self.fusion, self.parts(features))

    def _part(self, name: str, features: Mapping[str, Any]) -> Tensor | TokenStates:
        of_tokens = joins_of(self.fusion, FUSIONS) == "tokens"
        if name == ID_TOWER and self.vectors is not None:
            vectors: Tensor = self.vectors(features)
            return single_tokens(vectors) if of_tokens else vectors
        prepared: Prepared = features[name]
        key = part_name(name)
        owner = part_name(self.owners[name])
        encoder: Any = self.encoders[owner]
        calls = self.calls(len(prepared.batches))
        if torch.is_grad_enabled():
            self.used |= {owner} if calls else set()
            calls = max(calls, 1)  # so that every process has gradients of the same parameters
        spare = spare_inputs(encoder, calls - len(prepared.batches))
        missing: Any = self.missing[key].state
        if of_tokens:
            states, real = prepared.encode_tokens(encoder, missing, spare=spare)
            return TokenStates(self.heads[key](states), real)
        pooled = prepared.encode(encoder, missing, spare=spare)
        vectors = self.heads[key](pooled)
        return vectors


class _Missing(nn.Module):
    """The learned state of an item without a source, (D,); zeros at first, as stored states have them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.state = nn.Parameter(torch.zeros(width))
        expect_zero(self, "always", "state")  # of a step in which every item has its source


def set_dropout(model: nn.Module, probability: float) -> None:
    """Sets every dropout of a network: modules, and the numbers that attention passes to functions."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = probability
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, probability)


def _adapted(encoder: Encoder, settings: EncoderSettings) -> Encoder:
    if settings.dropout is not None:
        set_dropout(encoder.model, settings.dropout)
    method = settings.adapt or "full"
    adapt(
        encoder, method, method_settings(method, settings.adapt_settings), prefix=encoder.modality
    )
    return encoder


def _checkpoint_activations(encoder: Encoder) -> None:
    model: Any = encoder.model
    if getattr(model, "supports_gradient_checkpointing", False):  # transformers
        enable = getattr(model, "activation_checkpointing_enable", None)
        # Reentrant checkpoints lose the gradients of layers above frozen embeddings; others need no gradient there.
        (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
        model.disable_input_require_grads()
        return
    raise UserError(
        f"train.activation_checkpointing: encoder {encoder.spec.encoder!r} ({type(model).__name__}) cannot; leave it "
        "out, and bound memory with --train.items_at_once"
    )


def _tensors(encoder: Encoder) -> list[Tensor]:
    return [*encoder.parameters(), *encoder.buffers()]


def _owners(chosen: Mapping[str, EncoderSettings]) -> dict[str, str]:
    """By tower, the first tower with which it shares its weights; itself where there is none."""
    owners: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    for name, settings in chosen.items():
        spec = settings.spec
        same = (spec.encoder, spec.revision, spec.modality, spec.pooling, spec.dtype, spec.quantize,
                spec.frame_count, spec.crop_px)  # fmt: skip
        method = method_settings(settings.adapt or "full", settings.adapt_settings)
        key = (*same, settings.dropout, settings.adapt, repr(method), settings.from_layer)
        owners[name] = first.setdefault(key, name) if settings.shared else name
    return owners


def _refuse_other_base(name: str, encoder: Encoder, recorded: str | None) -> None:
    if recorded is None:
        return
    now = encoder.revision_as(recorded)
    if now != recorded:
        raise UserError(
            f"tower {name!r}: encoder {encoder.spec.encoder!r} is at revision {now}, and the model was trained on "
            f"{recorded}; restore that encoder, or train again"
        )


def load_encoders(settings: Mapping[str, Any]) -> TrainedEncoders:
    """The module from what its `settings()` returned, its base encoders loaded.

    Args:
        settings: with the fusion as what makes it.

    Raises:
        UserError: if a base encoder is missing or has changed.
    """
    known = {field.name for field in fields(EncoderSettings)}
    encoders = {
        name: EncoderSettings(**{key: value for key, value in one.items() if key in known})
        for name, one in settings["encoders"].items()
    }
    return TrainedEncoders(**{**settings, "encoders": encoders})


def _build(
    settings: HeadSettings,
    *,
    items: int,
    encoders: Mapping[str, EncoderSettings],
    parts: Sequence[str],
    embedding_dim: int,
    fusion: MakeFusion,
    initial_std: float | None,
    **unused: Any,
) -> TrainedEncoders:
    return TrainedEncoders(
        encoders,
        parts=parts,
        items=items,
        embedding_dim=embedding_dim,
        layers=settings.layers,
        dropout=settings.dropout,
        activation=settings.activation,
        initial_std=initial_std,
        fusion=fusion,
    )


def _about(towers: Sequence[str]) -> str:
    content = [name for name in towers if name != ID_TOWER]
    return (
        f"It reads items by their content: encoders that were trained with it, over {len(content)} "
        f"tower{'s' * (len(content) != 1)} of raw content (end to end, as in IDvs.MoRec, arXiv 2303.13835)."
        + about_parts(towers)
    )


ENCODERS = ItemKind(
    encoder=TrainedEncoders,
    build=_build,
    reads=("sources",),
    knows_new_items=True,
    noun="a model of trained encoders",
    about=_about,
    settings=HeadSettings,
    joins=("vectors", "tokens"),
    takes_id_tower=True,
    restore=load_encoders,
)
