"""What an adaptation method declares of itself, and the encoder that it is applied to."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from torch import nn
from transformers import PreTrainedModel

from models.adaptation.anatomy import Anatomy, Block, anatomy_of, layers_of, members, part
from models.adaptation.reach import reached_parameters
from models.parameters import in_group
from toolkit.backbones.final_norm import is_layer_norm

# What a method needs of an encoder.
Need = Literal[
    "layers",
    "transformer layers",
    "transformer layers of one width",
    "query layers",
    "key layers of their own",
    "attention of transformers",
    "embeddings that take learned tokens",
    "layer norms",
    "biases",
]


class Target:
    """An encoder that a method is applied to.

    Args:
        encoder: an `Encoder` of `toolkit.backbones`, or a sequence encoder.
        prefix: of the names of its learning-rate groups, such as `text`; empty for none.
    """

    def __init__(self, encoder: nn.Module, prefix: str = "") -> None:
        self.encoder = encoder
        self.prefix = prefix
        model = getattr(encoder, "model", None)
        self.model: nn.Module = model if isinstance(model, nn.Module) else encoder
        self.anatomy: Anatomy | None = anatomy_of(self.model)

    @cached_property
    def reached(self) -> set[nn.Parameter]:
        """The parameters that the outputs depend on, before the method is applied."""
        return reached_parameters(self.encoder)

    @cached_property
    def layers(self) -> list[nn.Module]:
        """The layers that the outputs depend on: those up to the highest kept state."""
        layers = (
            parts[0] if len(parts) == 1 else nn.ModuleList(parts)
            for parts in layers_of(self.encoder)
        )
        return [x for x in layers if self._is_reached(x)]

    @cached_property
    def blocks(self) -> list[Block]:
        """The transformer layers that the outputs depend on."""
        anatomy = self.anatomy
        if anatomy is None or not anatomy.feed_forward:
            return []
        modules = (x for layer in self.layers for x in members(layer, anatomy.blocks))
        return [anatomy.block(x) for x in modules if self._is_reached(x)]

    @property
    def paths(self) -> Anatomy:
        """The anatomy of an encoder that has one."""
        if self.anatomy is None:
            raise ValueError(f"{type(self.model).__name__} has no anatomy that is known")
        return self.anatomy

    @property
    def final_norm(self) -> nn.Module | None:
        """The norm after the last layer, if the outputs depend on it."""
        read = getattr(self.encoder, "final_norm", None)
        names = ((read.path,) if read else ()) + (self.anatomy.final_norm if self.anatomy else ())
        norms = (part(self.model, name) for name in names)
        return next((x for x in norms if x is not None and self._is_reached(x)), None)

    @property
    def norms(self) -> list[nn.Module]:
        """The LayerNorms and RMSNorms that the outputs depend on."""
        return [x for x in self.model.modules() if is_layer_norm(x) and self._is_reached(x)]

    @property
    def biases(self) -> list[nn.Parameter]:
        """The biases that the outputs depend on, those of norms included."""
        named = self.model.named_parameters()
        return [
            x for name, x in named if name.split(".")[-1].endswith("bias") and x in self.reached
        ]

    def has(self, need: Need) -> bool:
        """Whether the encoder has what a method needs."""
        found: dict[Need, Callable[[], bool]] = {
            "layers": lambda: bool(self.layers),
            "transformer layers": lambda: bool(self.blocks),
            "transformer layers of one width": lambda: (
                bool(self.blocks) and len(set(getattr(self.encoder, "widths", ()))) <= 1
            ),
            "query layers": lambda: any(block.query is not None for block in self.blocks),
            "key layers of their own": lambda: any(block.key is not None for block in self.blocks),
            "attention of transformers": self._takes_attention,
            "embeddings that take learned tokens": lambda: (
                self._takes_attention() and bool(self.paths.embeddings)
            ),
            "layer norms": lambda: bool(self.norms),
            "biases": lambda: bool(self.biases),
        }
        return found[need]()

    def group(self, name: str) -> str:
        """The full name of a learning-rate group."""
        return f"{self.prefix}_{name}" if self.prefix else name

    def add(self, module: nn.Module, name: str = "adapters") -> None:
        """Adds a module to the encoder, as `encoder.adapters` by default."""
        self.encoder.add_module(name, module)

    def train(self, parameters: list[nn.Parameter]) -> None:
        """Lets these of the encoder's own parameters train, as far as the outputs depend on them."""
        for parameter in parameters:
            parameter.requires_grad_(parameter in self.reached)

    def train_norms(self) -> None:
        """Lets every LayerNorm train, in the group `norm`."""
        for norm in self.norms:
            in_group(norm, self.group("norm"))
            self.train(list(norm.parameters(recurse=False)))

    def _takes_attention(self) -> bool:
        """Whether transformers lets another attention function take the place of the model's own."""
        model = self.model
        return (
            len(set(getattr(self.encoder, "widths", ()))) <= 1
            and any(isinstance(block.key, nn.Linear) for block in self.blocks)
            and isinstance(model, PreTrainedModel)
            and bool(model._supports_attention_backend)
        )

    def _is_reached(self, module: nn.Module) -> bool:
        return any(parameter in self.reached for parameter in module.parameters())


@dataclass(frozen=True)
class AdaptationKind:
    """A way to adapt an encoder.

    Args:
        settings: a dataclass of its settings, each with a default.
        apply: adds the method to a `Target` whose parameters are all frozen, in place. What it adds, or lets train,
            declares a learning-rate group.
        groups: the learning-rate groups that it may declare.
        needs: what an encoder must have.
        identity: whether the encoder's outputs are at first what they were.
        merge: puts what it added to an encoder's model into the weights of that model, in place, which is then as its
            library builds it; None if the weights cannot hold it.
        follow: computes again what it added from an encoder's own weights, in place, after these were replaced; None if
            nothing that it adds depends on them.
    """

    settings: type
    apply: Callable[[Target, Any], None]
    groups: tuple[str, ...]
    needs: tuple[Need, ...] = ()
    identity: bool = True
    merge: Callable[[nn.Module], None] | None = None
    follow: Callable[[nn.Module], None] | None = None

    def takes(self, target: Target) -> bool:
        """Whether the method can be applied to an encoder."""
        return all(target.has(need) for need in self.needs)
