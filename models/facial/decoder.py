"""A small text decoder over a feature map: GPT-2 of transformers with cross-attention, from a configuration.

N texts, S cells of a map, D width, L tokens, V words.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from models.facial.vocabulary import END, FACE, IGNORED, PAD
from toolkit.backbones.pretrained import probing


class TextDecoder(nn.Module):
    """log P(t_1, …, t_L | X) = Σ_l log P(t_l | start, t_1, …, t_{l-1}, X), with X the cells of a map.

    Every layer is causal self-attention, cross-attention to the cells, and a feed-forward network of inner width 4 D,
    each with LayerNorm before it and a residual. Token and output embeddings are shared. Reconstruction: the paper's
    decoder is lightweight and no large language model. Chosen: this network, without positions of the cells.

    Args:
        words: V.
        width: D.
        layers: number of layers.
        heads: number of attention heads.
        max_tokens: largest L.
        dropout: dropout probability of embeddings, attention weights and sublayers.

    Raises:
        ValueError: if D is not divisible by `heads`.
    """

    def __init__(
        self,
        words: int,
        *,
        width: int,
        layers: int,
        heads: int,
        max_tokens: int,
        dropout: float,
    ) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"width {width} is not divisible by decoder_heads {heads}")
        self.max_tokens = max_tokens
        self.network = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=words,
                n_embd=width,
                n_layer=layers,
                n_head=heads,
                n_positions=max_tokens + 1,
                embd_pdrop=dropout,
                attn_pdrop=dropout,
                resid_pdrop=dropout,
                add_cross_attention=True,
                bos_token_id=FACE,
                eos_token_id=END,
            )
        )
        for module in self.network.modules():
            if isinstance(module, Conv1D):  # linear, but no class of torch
                module.decays = True

    def forward(self, cells: Tensor, starts: Tensor, targets: Tensor) -> Tensor:
        """Scores of every next token under teacher forcing.

        Args:
            cells: (N, S, D).
            starts: (N,) first token of each text.
            targets: (N, L) tokens to predict; -100 is ignored.

        Returns:
            (N, L, V) logits. Those at position l depend on targets 0 to l - 1.
        """
        known = targets[:, :-1].masked_fill(targets[:, :-1] == IGNORED, PAD)
        inputs = torch.cat([starts[:, None], known], dim=1)
        # Padding is last, where causal attention hides it, so no mask is needed.
        logits: Tensor = self.network(
            input_ids=inputs,
            encoder_hidden_states=cells,
            use_cache=False,
        ).logits
        return logits

    def generate(self, cells: Tensor, starts: Tensor, *, beams: int = 1) -> Tensor:
        """Texts by greedy or beam search, without dropout: equal inputs have equal texts.

        Args:
            cells: (N, S, D).
            starts: (N,) first token of each text.
            beams: number of beams; 1 is greedy search.

        Returns:
            (N, L) tokens after the first, padded after the end.
        """
        with probing(self):
            tokens: Tensor = self.network.generate(
                starts[:, None],
                attention_mask=torch.ones_like(starts[:, None]),
                encoder_hidden_states=cells,
                num_beams=beams,
                do_sample=False,
                pad_token_id=PAD,
                max_new_tokens=self.max_tokens,
            )
        return tokens[:, 1:]


def text_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the tokens that are not ignored, in float32; 0 if there is none.

    Args:
        logits: (..., L, V).
        targets: (..., L).
    """
    total = F.cross_entropy(
        logits.float().flatten(0, -2), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total / (targets != IGNORED).sum().clamp(min=1)
