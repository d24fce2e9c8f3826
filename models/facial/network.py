"""VL-FAU (arXiv 2408.00644): explainable recognition of facial action units (AUs), reconstructed from its description.

The authors published no code. What the paper leaves open is marked "Reconstruction" at the part concerned.

B faces, A AUs, D width, H × W pixels, h × w cells, L and M tokens of the texts about AUs and faces, V words.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from models.facial.backbone import StageBackbone
from models.facial.decoder import text_loss
from models.facial.language import AULanguage, FaceLanguage
from models.facial.losses import AU_LOSSES
from models.facial.per_au import PerAULinear
from models.facial.refinement import Refined, Refinement, Unrefined
from models.facial.states import hidden_at_random, predicted_states
from models.facial.stem import Stem
from models.facial.texts import TextTargets
from models.facial.vocabulary import Vocabulary
from toolkit.backbones.pretrained import probing


@dataclass(frozen=True)
class FaceLosses:
    """The terms of the loss, scalars.

    Args:
        aus: classification of the AUs.
        au_texts: cross-entropy of the texts about AUs; None without this branch.
        face_texts: cross-entropy of the texts about faces; None without this branch.
        total: their weighted sum, which trains the network.
    """

    aus: Tensor
    au_texts: Tensor | None
    face_texts: Tensor | None
    total: Tensor


@dataclass(frozen=True)
class FaceOutput:
    """What the network states of faces.

    Args:
        logits: (B, A) of the AUs; their sigmoid is the probability of being active.
        features: (B, A, D) the vectors that are classified.
        attention: (B, A, h, w) spatial attention of each AU; None without refinement.
        au_text_logits: (B, A, L, V) under teacher forcing; None without targets or this branch.
        face_text_logits: (B, M, V) under teacher forcing; None without targets or this branch.
        losses: None without labels.
    """

    logits: Tensor
    features: Tensor
    attention: Tensor | None = None
    au_text_logits: Tensor | None = None
    face_text_logits: Tensor | None = None
    losses: FaceLosses | None = None


@dataclass(frozen=True)
class Described:
    """Faces with generated texts.

    Args:
        output: logits, features and attention.
        au_texts: B lists of A texts; None without this branch.
        face_texts: B texts; None without this branch.
    """

    output: FaceOutput
    au_texts: list[list[str]] | None
    face_texts: list[str] | None


class VLFAU(nn.Module):
    """Stem, refinement per AU, a classifier per AU, and two language branches.

    X = stem(backbone(image)); X_a = refinement of X for AU a; v_a = mean of X_a over cells; p_a = σ(w_a · v_a + b_a). The
    loss is L = L_AU + λ_a L_au_texts + λ_f L_face_texts. The texts about AUs (the paper's local language) are decoded from
    X_a, and the text about the face (its global language) from X. Without refinement, X_a is X.

    Reconstruction: chosen are λ_a = λ_f = 1, and each text loss is the mean over all tokens of a batch.

    Own addition: with τ = `told_states` above 0, the states z_a of the AUs condition the texts
    (`models.facial.states`): P(text | X_a, z_a), and P(text | X, z_1, …, z_A) of the face. In training, z is the label in a
    share τ of the faces, and hidden in the others, whose texts depend on the image alone as in the paper. Elsewhere z_a =
    [p_a ≥ 0.5], so that the texts state what the classifiers state.

    Args:
        backbone: hierarchical network (`models.facial.backbone`).
        aus: (A,) numbers of the AUs in FACS, in the order of the labels.
        width: D.
        grid_stage: stage of the backbone, from 1, whose grid the maps have; 3 has 14 × 14 cells of 224 pixels in Swin.
        refine: whether each AU has its own refinement.
        reduction: D divided by the inner width of the channel attention.
        kernel: width of the kernel of the spatial attention, in cells.
        au_texts: whether there are decoders of texts about AUs.
        face_texts: whether there is a decoder of texts about faces.
        vocabulary: tokens of the texts (`models.facial.texts.vocabulary_of`); required with a language branch.
        shared_decoder: whether all AUs share one decoder, which is smaller and faster; in the paper each has its own.
        decoder_layers: layers of a decoder.
        decoder_heads: attention heads of a decoder.
        decoder_dropout: dropout probability in a decoder.
        au_loss: name of L_AU in `models.facial.losses.AU_LOSSES`.
        au_weights: (A,) weights of the AUs in L_AU (`models.facial.rates`); 1 by default.
        au_texts_weight: λ_a.
        face_texts_weight: λ_f.
        told_states: τ, in [0, 1]; 0, as in the paper, for texts without conditions.
        text_share: share of the faces of a training batch whose texts are learned; below 1, a step takes less time and the
            gradients of the text losses, whose expectation is the same, are noisier.

    Raises:
        ValueError: if an argument is out of range, `au_weights` has another length than `aus`, or a language branch has no
            vocabulary of the same AUs.
    """

    def __init__(
        self,
        backbone: StageBackbone,
        *,
        aus: Sequence[int],
        width: int = 256,
        grid_stage: int = 3,
        refine: bool = True,
        reduction: int = 16,
        kernel: int = 7,
        au_texts: bool = True,
        face_texts: bool = True,
        vocabulary: Vocabulary | None = None,
        shared_decoder: bool = False,
        decoder_layers: int = 2,
        decoder_heads: int = 4,
        decoder_dropout: float = 0.1,
        au_loss: str = "asymmetric",
        au_weights: Sequence[float] | None = None,
        au_texts_weight: float = 1.0,
        face_texts_weight: float = 1.0,
        told_states: float = 0.0,
        text_share: float = 1.0,
    ) -> None:
        super().__init__()
        self.aus = tuple(aus)
        self.vocabulary = vocabulary
        weights = torch.ones(len(self.aus)) if au_weights is None else torch.tensor(au_weights)
        if len(weights) != len(self.aus):
            raise ValueError(f"{len(weights)} au_weights for {len(self.aus)} AUs; expected as many")
        if au_loss not in AU_LOSSES:
            raise ValueError(f"au_loss {au_loss!r} is unknown; expected {' or '.join(AU_LOSSES)}")
        self.au_loss = AU_LOSSES[au_loss]
        self.au_texts_weight, self.face_texts_weight = au_texts_weight, face_texts_weight
        self.told_states, self.text_share = told_states, text_share
        self.register_buffer("au_weights", weights.float(), persistent=False)
        self.au_weights: Tensor
        self.backbone = backbone
        self.stem = Stem(backbone.channels, width=width, grid_stage=grid_stage)
        self.refinement = (
            Refinement(len(self.aus), width=width, reduction=reduction, kernel=kernel)
            if refine
            else None
        )
        self.classifier = PerAULinear(len(self.aus), width, 1)
        decoder: dict[str, Any] = {
            "width": width,
            "layers": decoder_layers,
            "heads": decoder_heads,
            "dropout": decoder_dropout,
            "conditioned": told_states > 0,
        }
        self.au_language: AULanguage | None = None
        self.face_language: FaceLanguage | None = None
        if au_texts:
            words = self._words_for("au_texts")
            self.au_language = AULanguage(words, shared=shared_decoder, **decoder)
        if face_texts:
            self.face_language = FaceLanguage(self._words_for("face_texts"), **decoder)
        self._settings = {
            "aus": list(self.aus),
            "width": width,
            "grid_stage": grid_stage,
            "refine": refine,
            "reduction": reduction,
            "kernel": kernel,
            "shared_decoder": shared_decoder,
            "decoder_layers": decoder_layers,
            "decoder_heads": decoder_heads,
            "decoder_dropout": decoder_dropout,
            "au_loss": au_loss,
            "au_weights": weights.tolist(),
            "au_texts_weight": au_texts_weight,
            "face_texts_weight": face_texts_weight,
            "told_states": told_states,
            "text_share": text_share,
        }

    def settings(self) -> dict[str, Any]:
        """What `from_settings` needs to rebuild the network, as a JSON object."""
        return {
            **self._settings,
            "backbone": self.backbone.settings(),
            "au_texts": self.au_language is not None,
            "face_texts": self.face_language is not None,
            "vocabulary": asdict(self.vocabulary) if self.vocabulary else None,
        }

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "VLFAU":
        """Rebuilds a network, with initial weights and without any other file."""
        values = dict(settings)
        backbone = StageBackbone.from_settings(values.pop("backbone"))
        words = values.pop("vocabulary")
        vocabulary = Vocabulary.from_settings(words) if words else None
        return cls(backbone, vocabulary=vocabulary, **values)

    def remove_language(self) -> None:
        """Removes the language branches, in place: recognition alone, with the same logits."""
        self.au_language = self.face_language = None

    def forward(
        self, images: Tensor, labels: Tensor | None = None, texts: TextTargets | None = None
    ) -> FaceOutput:
        """Recognises AUs and, with labels, computes the losses.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            labels: (B, A) of 0, 1 and 9 (missing).
            texts: targets of the texts (`models.facial.texts.Texts`); required with labels if there is a language branch.

        Raises:
            ValueError: if they are missing.
        """
        maps = self._encode(images)
        output = self._classify(maps)
        if labels is None:
            return output
        if texts is None and (self.au_language or self.face_language):
            raise ValueError(
                "labels without texts; the losses of the language branches require Texts(...).targets(labels)"
            )
        au_logits = face_logits = None
        if texts:
            some = slice(self._described(len(images)))
            maps, texts = maps.some(some), TextTargets(*(part[some] for part in texts))
            states = (
                hidden_at_random(labels[some], told=self.told_states)
                if self.training
                else predicted_states(output.logits[some])
            )
            if self.au_language:
                au_logits = self.au_language(maps.maps(), texts.aus, states)
            if self.face_language:
                face_logits = self.face_language(maps.stem, texts.faces, states)
        losses = self._losses(output.logits, labels, texts, au_logits, face_logits)
        return replace(
            output, au_text_logits=au_logits, face_text_logits=face_logits, losses=losses
        )

    def describe(
        self, images: Tensor, *, beams: int = 1, active_from: Tensor | None = None
    ) -> Described:
        """Recognises AUs and generates texts, without dropout: equal images have equal texts.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            beams: number of beams; 1 is greedy search.
            active_from: (A,) logits from which the AUs count as active where states condition the texts; 0 by default, a
                probability of 0.5.
        """
        with probing(self):
            maps = self._encode(images)
            output = self._classify(maps)
            states = predicted_states(output.logits, 0.0 if active_from is None else active_from)
            au_texts = face_texts = None
            if self.au_language and self.vocabulary:
                by_au = self.au_language.generate(maps.maps(), states, beams=beams)
                columns = [self.vocabulary.decode(tokens) for tokens in by_au]
                au_texts = [list(row) for row in zip(*columns, strict=True)]
            if self.face_language and self.vocabulary:
                face_texts = self.vocabulary.decode(
                    self.face_language.generate(maps.stem, states, beams=beams)
                )
            return Described(output, au_texts, face_texts)

    def _encode(self, images: Tensor) -> Refined | Unrefined:
        stem = self.stem(self.backbone(images))
        return self.refinement(stem) if self.refinement else Unrefined(stem, len(self.aus))

    def _classify(self, maps: Refined | Unrefined) -> FaceOutput:
        features = maps.means()
        return FaceOutput(self.classifier(features).squeeze(-1), features, maps.attention)

    def _described(self, faces: int) -> int:
        """How many faces of a batch have texts in the loss."""
        return math.ceil(self.text_share * faces) if self.training else faces

    def _losses(
        self,
        logits: Tensor,
        labels: Tensor,
        texts: TextTargets | None,
        au_logits: Tensor | None,
        face_logits: Tensor | None,
    ) -> FaceLosses:
        of_aus = self.au_loss(logits.float(), labels, self.au_weights)
        of_au_texts = of_face_texts = None
        total = of_aus
        if texts and au_logits is not None:
            of_au_texts = text_loss(au_logits, texts.aus)
            total = total + self.au_texts_weight * of_au_texts
        if texts and face_logits is not None:
            of_face_texts = text_loss(face_logits, texts.faces)
            total = total + self.face_texts_weight * of_face_texts
        return FaceLosses(of_aus, of_au_texts, of_face_texts, total)

    def _words_for(self, branch: str) -> Vocabulary:
        if self.vocabulary is None or self.vocabulary.aus != self.aus:
            of = "no vocabulary" if self.vocabulary is None else f"that of {self.vocabulary.aus}"
            raise ValueError(
                f"{branch} is set with {of}; expected a vocabulary of the AUs {self.aus}"
            )
        return self.vocabulary
