"""Text families: every kept state equals the library's own, computed text by text without padding."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

from toolkit import UserError
from toolkit.backbones import batching, load_backbone
from toolkit.backbones.weights import Weights

# Of many lengths, and one of which BERT-like tokenizers keep nothing but their special tokens.
TEXTS = ["b", "a b c d e f g h", "c d", "", "e e e e e", "h g f", "a a", "x y z a b c d e f g h"]
WORDS = ["<pad>", "<s>", "</s>", "<unk>", "[CLS]", "[SEP]", *"abcdefghij"]
SMALL = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "initializer_range": 0.5,  # so wide that a wrong mask or position cannot hide in the tolerance
    "pad_token_id": 0,
}
LLM = {**SMALL, "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": None}

POOLED: dict[str, Callable[[Tensor], Tensor]] = {
    "cls": lambda h: h[0, 0],
    "mean": lambda h: h[0].mean(0),
    "last": lambda h: h[0, -1],
}

# Of each family: its configuration, the keys that are its own, and how its tokenizer frames a text.
ENCODERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "bert": ("BertConfig", SMALL, "[CLS] $A [SEP]"),
    "roberta": ("RobertaConfig", SMALL, "[CLS] $A [SEP]"),
    "distilbert": (
        "DistilBertConfig",
        {**SMALL, "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32},
        "[CLS] $A [SEP]",
    ),
    "albert": ("AlbertConfig", {**SMALL, "embedding_size": 8}, "[CLS] $A [SEP]"),
    "deberta": (
        "DebertaConfig",
        {**SMALL, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
        "[CLS] $A [SEP]",
    ),
    "deberta-v2": (
        "DebertaV2Config",
        {
            **SMALL,
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "position_buckets": 4,
            "share_att_key": True,
            "conv_kernel_size": 3,
            "norm_rel_ebd": "layer_norm",
        },
        "[CLS] $A [SEP]",
    ),
    "electra": ("ElectraConfig", {**SMALL, "embedding_size": 8}, "[CLS] $A [SEP]"),
    "mpnet": ("MPNetConfig", SMALL, "[CLS] $A [SEP]"),
    "modernbert": (
        "ModernBertConfig",
        {**SMALL, "local_attention": 4, "global_attn_every_n_layers": 2},
        "[CLS] $A [SEP]",
    ),
    "xlnet": (
        "XLNetConfig",
        {**SMALL, "d_model": 16, "n_layer": 3, "n_head": 2, "d_inner": 32},
        "$A:0 [SEP]:0 [CLS]:2",
    ),
    "t5": (
        "T5Config",
        {
            **SMALL,
            "d_model": 16,
            "d_kv": 8,
            "d_ff": 32,
            "num_layers": 3,
            "num_heads": 2,
            "decoder_start_token_id": 0,
        },
        "$A </s>",
    ),
}
DECODERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama": ("LlamaConfig", LLM, "<s> $A"),
    "gemma": ("GemmaConfig", LLM, "<s> $A"),
    "gemma2": ("Gemma2Config", {**LLM, "sliding_window": 4}, "<s> $A"),
    "gemma3": ("Gemma3TextConfig", {**LLM, "sliding_window": 4}, "<s> $A"),
    "mistral": ("MistralConfig", {**LLM, "sliding_window": 4}, "<s> $A"),
    "mixtral": ("MixtralConfig", {**LLM, "num_local_experts": 4}, "<s> $A"),
    "qwen2": ("Qwen2Config", LLM, "$A"),
    "qwen3": ("Qwen3Config", LLM, "$A"),
    "opt": ("OPTConfig", {**LLM, "ffn_dim": 32, "word_embed_proj_dim": 16}, "</s> $A"),
    "gpt2": ("GPT2Config", {**LLM, "n_embd": 16, "n_layer": 3, "n_head": 2}, "$A"),
    "bloom": ("BloomConfig", {**LLM, "n_layer": 3, "n_head": 2}, "$A"),
}  # fmt: skip
FAMILIES = {**ENCODERS, **DECODERS}


def write_tokenizer(folder: Path, frame: str, *, side: str, pads: bool) -> None:
    """Words of one letter, framed as the family does; without a padding token if it has none."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [(word, i) for i, word in enumerate(WORDS[:6])]
    made.post_processor = processors.TemplateProcessing(single=frame, special_tokens=special)
    names = {"cls_token": "[CLS]", "sep_token": "[SEP]"} if "[CLS]" in frame else {}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        padding_side=side,
        unk_token="<unk>",
        eos_token="</s>",
        **names,
        **({"pad_token": "<pad>"} if pads else {}),
    ).save_pretrained(folder)


def write_model(folder: Path, family: str, *, side: str = "right", dtype: str = "float32") -> str:
    name, keys, frame = FAMILIES[family]
    write_tokenizer(folder, frame, side=side, pads=family in ENCODERS)
    torch.manual_seed(0)
    config = getattr(transformers, name)(**keys)
    model = transformers.AutoModel.from_config(config).to(getattr(torch, dtype))
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """The folder of a tiny random model of a family, whose tokenizer pads on a side."""
    done: dict[tuple[str, str], str] = {}

    def folder(family: str, side: str = "right") -> str:
        if (family, side) not in done:
            done[family, side] = write_model(tmp_path_factory.mktemp(family), family, side=side)
        return done[family, side]

    return folder


def own_states(folder: str, text: str) -> list[Tensor]:
    """The library's hidden states of one text, which needs no padding."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    model = model.get_encoder() if model.config.is_encoder_decoder else model
    inputs = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        return list(model(**inputs, output_hidden_states=True).hidden_states)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_are_the_library_s_own_however_batched(
    saved: Callable[..., str], family: str, side: str
) -> None:
    folder = saved(family, side)
    texts = [text for text in TEXTS if text or "</s>" in FAMILIES[family][2]]
    pools = ["mean", "last", *(["cls"] if "[CLS] $A" in FAMILIES[family][2] else [])]
    own = [own_states(folder, text) for text in texts]
    for pool in pools:
        expected = torch.stack([torch.stack([POOLED[pool](h) for h in states]) for states in own])
        # To 1e-5 of the largest value: states reach 32 here, and rounding differs between processors.
        within = 1e-5 * float(expected.abs().max())
        for budget in (1, 20, 8192):
            backbone = load_backbone(folder, modality="text", pooling=pool, batch_tokens=budget)  # type: ignore[arg-type]
            torch.testing.assert_close(backbone.encode(texts), expected, rtol=0, atol=within)
    assert expected.shape == (len(texts), 4, 16)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "t5", "xlnet"])
def test_pooling_cls_is_refused_where_no_first_token_stands_for_the_text(
    saved: Callable[..., str], family: str
) -> None:
    reason = "is decoder-only: its first" if family in DECODERS else r"puts no \[CLS\] token before"
    with pytest.raises(UserError, match=rf"{reason}.*pooling cls is no use; take mean or last"):
        load_backbone(saved(family), modality="text")


def test_a_decoder_s_first_token_is_no_cls_whatever_it_is_called(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "llama")
    write_tokenizer(tmp_path, "[CLS] $A [SEP]", side="left", pads=True)
    with pytest.raises(UserError, match="is decoder-only"):
        load_backbone(folder, modality="text")


def test_a_text_of_which_the_tokenizer_leaves_nothing_has_states_too(
    saved: Callable[..., str],
) -> None:
    backbone = load_backbone(saved("gpt2"), modality="text", pooling="mean")
    own = own_states(saved("gpt2"), "</s>")
    states = backbone.encode(["a b c", ""])
    torch.testing.assert_close(states[1], torch.stack([h[0, 0] for h in own]))


def test_a_tokenizer_without_any_token_to_pad_with_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "gpt2")
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}))
    transformers.PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(folder)
    with pytest.raises(UserError, match="names neither a padding nor an end-of-text token that"):
        load_backbone(folder, modality="text", pooling="mean")


@pytest.mark.parametrize("budget", [1, 7, 12, 1000])
def test_batches_keep_to_their_budget_and_leave_no_text_out(budget: int) -> None:
    lengths = [3, 12, 1, 7, 7, 3, 0, 5]
    batches = list(batching.by_length(lengths, budget))
    assert sorted(row for rows in batches for row in rows) == list(range(8))
    for rows in batches:
        assert len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= budget
    assert [lengths[row] for rows in batches for row in rows] == sorted(lengths, reverse=True)


def test_texts_go_through_within_the_budget_of_padded_tokens(saved: Callable[..., str]) -> None:
    backbone = load_backbone(saved("bert"), modality="text", batch_tokens=24)
    shapes = []
    backbone.encoder.register_forward_pre_hook(
        lambda _, args: shapes.append(tuple(args[0].tensors["input_ids"].shape))
    )
    backbone.encode(TEXTS)
    # With [CLS] and [SEP] the texts have 13, 10, 7, 5, 4, 4, 3 and 2 tokens.
    assert shapes == [(1, 13), (2, 10), (4, 5), (1, 2)]


@pytest.mark.parametrize(
    ("asked", "saved_in", "computes_in"),
    [
        ("auto", "bfloat16", torch.float32),  # on a CPU
        ("saved", "bfloat16", torch.bfloat16),
        ("saved", "float32", torch.float32),
        ("bfloat16", "float32", torch.bfloat16),
    ],
)
def test_precision_is_as_asked_and_told(
    tmp_path: Path, asked: str, saved_in: str, computes_in: torch.dtype
) -> None:
    folder = write_model(tmp_path, "llama", dtype=saved_in)
    backbone = load_backbone(folder, modality="text", pooling="last", dtype=asked)  # type: ignore[arg-type]
    told = backbone.encoder.states_metadata()
    assert backbone.encoder.dtype == computes_in and f"torch.{told['precision']}" == str(
        computes_in
    )
    assert backbone.encode(["a b"]).dtype == torch.float32  # pooled and handed on in float32


def test_code_that_comes_with_an_encoder_is_not_run_unasked(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "bert")
    about = json.loads((tmp_path / "config.json").read_text())
    about |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Own"}}
    (tmp_path / "config.json").write_text(json.dumps(about))
    (tmp_path / "own.py").write_text("raise SystemExit('run unasked')\n")
    with pytest.raises(UserError, match=r"Python code of its own.*set trust_remote_code to true"):
        load_backbone(folder, modality="text")


def test_quantisation_needs_bitsandbytes(saved: Callable[..., str]) -> None:
    with pytest.raises(
        UserError, match="quantize is 4bit, which needs bitsandbytes, and it is not"
    ):
        load_backbone(saved("llama"), modality="text", pooling="mean", quantize="4bit")


def test_weights_ask_transformers_for_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Weights().options == {"device_map": "cpu", "dtype": "float32"}
    assert Weights("cuda:1", dtype="bfloat16").options == {
        "device_map": "cuda:1",
        "dtype": "bfloat16",
    }
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert Weights(device_map="auto").options == {"device_map": "auto", "dtype": "auto"}
    assert Weights("cuda").options == {"device_map": "cuda", "dtype": "auto"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    eight = Weights("cuda", quantize="8bit").options["quantization_config"]
    four = Weights("cuda", quantize="4bit").options["quantization_config"]
    assert eight.load_in_8bit and not eight.load_in_4bit
    assert four.load_in_4bit and four.bnb_4bit_quant_type == "nf4"
    assert four.bnb_4bit_compute_dtype == torch.bfloat16


@pytest.mark.parametrize("overhead", [0, 3, 40])
def test_batches_with_the_least_padding(overhead: int) -> None:
    """Against every way to cut the sorted texts."""
    lengths = [5, 1, 9, 5, 2, 9, 7, 5]
    ordered = sorted(lengths, reverse=True)

    def cost(groups: list[list[int]]) -> int:
        return sum(len(group) * max(group) + overhead for group in groups)

    ways = itertools.product([False, True], repeat=len(ordered) - 1)
    cuts = [[0, *(i + 1 for i, cut in enumerate(way) if cut), len(ordered)] for way in ways]
    best = min(cost([ordered[a:b] for a, b in itertools.pairwise(each)]) for each in cuts)
    found = batching.least_padding(lengths, 1000, overhead=overhead)
    assert sorted(itertools.chain(*found)) == list(range(len(lengths)))
    assert cost([[lengths[row] for row in group] for group in found]) == best
    small = batching.least_padding(lengths, 10, overhead=overhead)
    assert all(
        len(group) == 1 or len(group) * max(lengths[r] for r in group) <= 10 for group in small
    )
