"""Where the layers of an encoder are, and within them the parts that adapters attach to.

B items, S tokens, D width. In a layer, the attention and the feed-forward network each end in a dense layer, whose
output h is added to the residual stream x. A post-norm layer (BERT, SASRec) then normalises the sum; a pre-norm layer
(ViT, decoders, T5) normalises what enters the next part instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

from torch import nn


@dataclass(frozen=True)
class Sublayer:
    """Attention or feed-forward network of a layer.

    Args:
        dense: the last module, whose output (or its first member) is h (B, S, D) before the residual is added.
        reads: the module whose first argument is the residual stream x (B, S, D) that h is added to.
        norm: the LayerNorm of h + x in a post-norm layer; None in a pre-norm layer.
    """

    dense: nn.Module
    reads: nn.Module
    norm: nn.Module | None


@dataclass(frozen=True)
class Block:
    """A transformer layer.

    Args:
        module: of the layer.
        attention: its attention.
        feed_forward: its feed-forward network.
        query: the projection to queries, and to keys and values too where these share it; None if no module does it.
        key: the projection to keys alone; None where keys share one with queries and values.
        value: the projection to values, or the shared one.
    """

    module: nn.Module
    attention: Sublayer
    feed_forward: Sublayer
    query: nn.Module | None
    key: nn.Module | None
    value: nn.Module | None


@dataclass(frozen=True)
class Anatomy:
    """Paths of the parts of a family of encoders; `*` stands for every member of a list.

    Args:
        name: of the family, in messages.
        layers: the layers, in the encoder's model.
        attention: the last module of the attention, in a block.
        feed_forward: the last module of the feed-forward network, in a block. Empty if the layers hold no
            transformer blocks.
        feed_forward_reads: the module in a block whose first argument is the residual stream of the feed-forward network.
        attention_reads: the same for the attention; empty for the block itself.
        attention_norm: the LayerNorm after the attention's residual; empty in a pre-norm layer.
        feed_forward_norm: the same of the feed-forward network.
        blocks: the blocks, in a layer; empty if each layer is a block.
        query: the projection to queries, in a block.
        key: that to keys.
        value: that to values.
        final_norm: names that the norm after the last layer may have, in the model.
        idle_at_first: parts of the first layer that change nothing there.
        embeddings: the module whose output (B, S, D) other tokens may be added to, in the model; empty if that does
            more than lengthen the sequence.
    """

    name: str
    layers: str
    attention: str = ""
    feed_forward: str = ""
    feed_forward_reads: str = ""
    attention_reads: str = ""
    attention_norm: str = ""
    feed_forward_norm: str = ""
    blocks: str = ""
    query: str = ""
    key: str = ""
    value: str = ""
    final_norm: tuple[str, ...] = ()
    idle_at_first: tuple[str, ...] = ()
    embeddings: str = ""

    def fits(self, model: nn.Module) -> bool:
        """Whether a model has all these parts."""
        layers = list(members(model, self.layers))
        if not layers:
            return False
        blocks = [block for layer in layers for block in members(layer, self.blocks)]
        return not self.feed_forward or (
            bool(blocks) and all(part(block, path) for block in blocks for path in self._paths())
        )

    def _paths(self) -> list[str]:
        named = (
            self.attention,
            self.feed_forward,
            self.feed_forward_reads,
            self.attention_norm,
            self.feed_forward_norm,
            self.query,
            self.key,
            self.value,
            *self.idle_at_first,
        )
        return [path for path in named if path]

    def block(self, module: nn.Module) -> Block:
        """The parts of one block."""

        def named(path: str) -> nn.Module:
            return module.get_submodule(path)

        return Block(
            module,
            Sublayer(
                named(self.attention),
                named(self.attention_reads),
                part(module, self.attention_norm) if self.attention_norm else None,
            ),
            Sublayer(
                named(self.feed_forward),
                named(self.feed_forward_reads),
                part(module, self.feed_forward_norm) if self.feed_forward_norm else None,
            ),
            query=part(module, self.query) if self.query else None,
            key=part(module, self.key) if self.key and self.key != self.query else None,
            value=part(module, self.value) if self.value else None,
        )


def part(module: nn.Module, path: str) -> nn.Module | None:
    """A part by its path, or None."""
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None


def members(module: nn.Module, path: str) -> Iterator[nn.Module]:
    """The members of the list at a path, in which `*` stands for every member of a list; the module itself if empty."""
    if not path:
        yield module
        return
    head, star, tail = path.partition(".*.")
    found = part(module, head)
    if isinstance(found, nn.ModuleList | nn.Sequential):
        for member in found:
            if star:
                yield from members(member, tail)
            else:
                yield member


class _Projections(TypedDict):
    query: str
    key: str
    value: str


def _projections(inside: str, names: tuple[str, str, str]) -> _Projections:
    query, key, value = (f"{inside}.{name}" for name in names)
    return {"query": query, "key": key, "value": value}


_QKV_PROJ = ("q_proj", "k_proj", "v_proj")

BERT = Anatomy(
    "BERT-like",
    "encoder.layer",
    attention="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    feed_forward="output.dense",
    feed_forward_reads="intermediate",
    feed_forward_norm="output.LayerNorm",
    **_projections("attention.self", ("query", "key", "value")),
    embeddings="embeddings",
)
VIT = Anatomy(
    "ViT-like",
    "layers",
    attention="attention.o_proj",
    feed_forward="mlp.fc2",
    feed_forward_reads="layernorm_after",
    **_projections("attention", _QKV_PROJ),
    final_norm=("layernorm",),
    embeddings="embeddings",
)
SASREC = Anatomy(
    "SASRec",
    "blocks",
    attention="attention.output",
    attention_norm="attention.norm",
    feed_forward="feed_forward.contract",
    feed_forward_reads="feed_forward",
    feed_forward_norm="feed_forward.norm",
    **_projections("attention", ("query", "key", "value")),
)

# The first that fits is taken.
ANATOMIES: tuple[Anatomy, ...] = (
    BERT,
    Anatomy(
        "DeBERTa",
        "encoder.layer",
        attention="attention.output.dense",
        attention_norm="attention.output.LayerNorm",
        feed_forward="output.dense",
        feed_forward_reads="intermediate",
        feed_forward_norm="output.LayerNorm",
        **_projections("attention.self", ("query_proj", "key_proj", "value_proj")),
    ),
    Anatomy(
        "MPNet",
        "encoder.layer",
        attention="attention.attn.o",
        attention_norm="attention.LayerNorm",
        feed_forward="output.dense",
        feed_forward_reads="intermediate",
        feed_forward_norm="output.LayerNorm",
        **_projections("attention.attn", ("q", "k", "v")),
    ),
    Anatomy(
        "DistilBERT",
        "transformer.layer",
        attention="attention.out_lin",
        attention_norm="sa_layer_norm",
        feed_forward="ffn.lin2",
        feed_forward_reads="ffn",
        feed_forward_norm="output_layer_norm",
        **_projections("attention", ("q_lin", "k_lin", "v_lin")),
        embeddings="embeddings",
    ),
    Anatomy(
        "ModernBERT",
        "layers",
        attention="attn.Wo",
        feed_forward="mlp.Wo",
        feed_forward_reads="mlp_norm",
        **_projections("attn", ("Wqkv", "Wqkv", "Wqkv")),
        final_norm=("final_norm",),
    ),
    VIT,
    Anatomy(
        "DINOv2",
        "encoder.layer",
        attention="attention.o_proj",
        feed_forward="mlp.fc2",
        feed_forward_reads="norm2",
        **_projections("attention", _QKV_PROJ),
        final_norm=("layernorm",),
        embeddings="embeddings",
    ),
    Anatomy(
        "VideoMAE",
        "encoder.layer",
        attention="attention.output.dense",
        feed_forward="output.dense",
        feed_forward_reads="layernorm_after",
        **_projections("attention.attention", ("query", "key", "value")),
        final_norm=("layernorm",),
    ),
    Anatomy(
        "TimeSformer",
        "encoder.layer",
        attention="attention.output.dense",
        attention_reads="attention",
        feed_forward="output.dense",
        feed_forward_reads="layernorm_after",
        **_projections("attention.attention", ("qkv", "qkv", "qkv")),
        final_norm=("layernorm",),
    ),
    Anatomy(
        "Swin",
        "encoder.layers",
        blocks="blocks",
        attention="attention.o_proj",
        feed_forward="mlp.fc2",
        feed_forward_reads="layernorm_after",
        **_projections("attention", _QKV_PROJ),
        final_norm=("layernorm",),
    ),
    Anatomy(
        "X-CLIP",
        "encoder.layers",
        attention="self_attn.out_proj",
        feed_forward="mlp.fc2",
        feed_forward_reads="layer_norm2",
        **_projections("self_attn", _QKV_PROJ),
        final_norm=("post_layernorm",),
        # Before the first layer every frame has one and the same message, so it does not matter who reads whose.
        idle_at_first=("message_attn.q_proj", "message_attn.k_proj"),
    ),
    Anatomy(
        "CLIP-like",
        "encoder.layers",
        attention="self_attn.out_proj",
        feed_forward="mlp.fc2",
        feed_forward_reads="layer_norm2",
        **_projections("self_attn", _QKV_PROJ),
        final_norm=("post_layernorm", "final_layer_norm"),
        embeddings="embeddings",
    ),
    Anatomy(
        "decoders like LLaMA",
        "layers",
        attention="self_attn.o_proj",
        feed_forward="mlp.down_proj",
        feed_forward_reads="post_attention_layernorm",
        **_projections("self_attn", _QKV_PROJ),
        final_norm=("norm",),
        embeddings="embed_tokens",
    ),
    Anatomy(
        "GPT-2",
        "h",
        attention="attn.c_proj",
        feed_forward="mlp.c_proj",
        feed_forward_reads="ln_2",
        **_projections("attn", ("c_attn", "c_attn", "c_attn")),
        final_norm=("ln_f",),
    ),
    Anatomy(
        "T5",
        "block",
        attention="layer.0.SelfAttention.o",
        attention_reads="layer.0",
        feed_forward="layer.1.DenseReluDense.wo",
        feed_forward_reads="layer.1",
        **_projections("layer.0.SelfAttention", ("q", "k", "v")),
        final_norm=("final_layer_norm",),
    ),
    Anatomy(
        "open_clip",
        "transformer.resblocks",
        attention="attn",
        feed_forward="mlp.c_proj",
        feed_forward_reads="ln_2",
        final_norm=("ln_post", "ln_final"),
    ),
    Anatomy(
        "open_clip",
        "text.transformer.resblocks",
        attention="attn",
        feed_forward="mlp.c_proj",
        feed_forward_reads="ln_2",
        final_norm=("text.ln_final",),
    ),
    *(
        Anatomy(
            "ViT of timm",
            layers,
            attention="attn.proj",
            feed_forward="mlp.fc2",
            feed_forward_reads="norm2",
            **_projections("attn", ("qkv", "qkv", "qkv")),
            final_norm=("trunk.norm", "timm_model.norm"),
        )
        for layers in ("trunk.blocks", "timm_model.blocks")
    ),
    SASREC,
    Anatomy("ResNet", "encoder.stages"),
)


def anatomy_of(model: nn.Module) -> Anatomy | None:
    """The anatomy that fits a model; None if none does."""
    return next((anatomy for anatomy in ANATOMIES if anatomy.fits(model)), None)


def layers_of(encoder: nn.Module) -> list[list[nn.Module]]:
    """The modules of each layer of an encoder, as the encoder declares them or its anatomy has them; none if unknown."""
    model = getattr(encoder, "model", None)
    model = model if isinstance(model, nn.Module) else encoder
    if declared := getattr(encoder, "layer_modules", ()):
        return [[model.get_submodule(path) for path in paths] for paths in declared]
    anatomy = anatomy_of(model)
    return [[layer] for layer in members(model, anatomy.layers)] if anatomy else []
