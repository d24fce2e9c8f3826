"""Compacter (arXiv 2106.04647): bottlenecks whose layers are sums of Kronecker products, with one shared factor.

The weight of a layer from p·n to q·n features is H = Σ_k kron(R_k, L_k · M_k), with R (n, n, n), the rule that all
layers of the encoder share, L_k (p, r) and M_k (r, q); y = z · H + b. The published code of Adapter4Rec leaves out the
residual around the adapter and so switches the pretrained layers off; ours keeps it, as the paper does.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.adaptation.attached import Attached, Normed, Serial
from models.adaptation.bottlenecks import (
    ACTIVATIONS,
    Activation,
    Places,
    attach_everywhere,
    check_width,
    width_of,
)
from models.adaptation.kind import AdaptationKind, Target
from models.parameters import in_group
from toolkit.errors import UserError

Form = Literal["houlsby", "pfeiffer"]
_RULE_START = 1e-4  # deviation: an adapter passes about 1e-8 of its input at first


@dataclass
class CompacterSettings:
    """Bottlenecks of Kronecker products.

    Args:
        width: w, of the bottleneck; divisible by `terms`, as the encoder's width is.
        terms: n, of the sum.
        rank: r, of each term's second factor.
        activation: between the layers.
        places: in which parts of a layer: attention, feed-forward or both.
        form: houlsby; or pfeiffer, which at feed-forward alone is Compacter++.
        norms: whether the encoder's LayerNorms train too.
    """

    width: int = 64
    terms: int = 4
    rank: int = 1
    activation: Activation = "gelu-tanh"
    places: Places = "both"
    form: Form = "houlsby"
    norms: bool = False


class Rule(nn.Module):
    """R (n, n, n), one for all layers.

    Args:
        terms: n.
    """

    decays = True

    def __init__(self, terms: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(terms, terms, terms))
        nn.init.normal_(self.weight, std=_RULE_START)


class KroneckerLinear(nn.Module):
    """z · Σ_k kron(R_k, L_k · M_k) + b, without forming the (in, out) matrix.

    Args:
        inputs: p · n.
        outputs: q · n.
        rule: R, which is no part of this module.
        rank: r.
    """

    decays = True

    def __init__(self, inputs: int, outputs: int, *, rule: Rule, rank: int) -> None:
        super().__init__()
        terms = rule.weight.shape[0]
        self.left = nn.Parameter(torch.empty(terms, inputs // terms, rank))
        self.right = nn.Parameter(torch.empty(terms, rank, outputs // terms))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self._rule = [rule]  # in a list: the encoder holds it once
        for factor in (*self.left, *self.right):
            nn.init.xavier_uniform_(factor, gain=math.sqrt(2))

    def forward(self, states: Tensor) -> Tensor:
        """(..., p·n) -> (..., q·n)."""
        rule = self._rule[0].weight
        parts = states.unflatten(-1, (rule.shape[1], -1))
        narrow = torch.einsum("...ip,kpr->...kir", parts, self.left)
        mixed = torch.einsum("...kir,kij->...kjr", narrow, rule)
        return torch.einsum("...kjr,krq->...jq", mixed, self.right).flatten(-2) + self.bias


class KroneckerBottleneck(nn.Module):
    """Up(act(Down(z))) of two Kronecker layers.

    Args:
        features: D.
        settings: of the method.
        rule: R.
    """

    def __init__(self, features: int, settings: CompacterSettings, rule: Rule) -> None:
        super().__init__()
        self.down = KroneckerLinear(features, settings.width, rule=rule, rank=settings.rank)
        self.activation = ACTIVATIONS[settings.activation]()
        self.up = KroneckerLinear(settings.width, features, rule=rule, rank=settings.rank)

    def forward(self, states: Tensor) -> Tensor:
        """(B, S, D) -> (B, S, D)."""
        out: Tensor = self.up(self.activation(self.down(states)))
        return out


def _compacter(target: Target, settings: CompacterSettings) -> None:
    check_width(settings.width)
    widths = {width_of(block.module) for block in target.blocks} | {settings.width}
    if odd := [width for width in sorted(widths) if width % settings.terms]:
        raise UserError(
            f"adapt compacter: width {odd[0]} is not divisible by terms {settings.terms}; set terms to a divisor of all of "
            f"{sorted(widths)}"
        )
    rule = Rule(settings.terms).to(next(target.model.parameters()).device)
    form = Serial if settings.form == "houlsby" else Normed

    def make(features: int) -> Attached:
        return form(KroneckerBottleneck(features, settings, rule))

    attach_everywhere(target, settings.places, make, norms=settings.norms)
    target.add(in_group(rule, target.group("adapter")), "adapter_rule")


COMPACTER = AdaptationKind(
    settings=CompacterSettings,
    apply=_compacter,
    groups=("adapter", "norm"),
    needs=("transformer layers",),
)
