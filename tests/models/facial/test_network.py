import json

import pytest
import torch

from models.facial import VLFAU, vocabulary_of
from models.facial.agreement import agreement
from models.facial.decoder import text_loss
from models.facial.states import hidden_at_random
from models.facial.text_metrics import token_accuracy
from models.facial.vocabulary import IGNORED
from models.parameters import rate_groups
from toolkit.facs import facs

# Stem only, then with refinement, texts about AUs and texts about faces; and each language branch alone.
ABLATIONS = [
    (False, False, False), (True, False, False), (True, True, False), (True, True, True),
    (True, False, True), (False, True, True),
]  # fmt: skip
LABELS = torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0]])
BRANCHES = {"refinement": 0, "au_language": 1, "face_language": 2}


def ablated(parts: tuple[bool, bool, bool]) -> dict[str, bool]:
    return dict(zip(("refine", "au_texts", "face_texts"), parts, strict=True))


@pytest.mark.parametrize("parts", ABLATIONS)
def test_an_ablation_has_its_parts_and_gradients_reach_them(make_network, images, texts, parts):
    network = make_network(**ablated(parts))
    targets = texts.targets(LABELS)
    output = network(images, LABELS, targets)
    assert output.logits.shape == (4, 3) and output.features.shape == (4, 3, 16)
    assert (output.attention is not None) == parts[0]
    if output.attention is not None:
        assert output.attention.shape == (4, 3, 4, 4)
        assert ((output.attention > 0) & (output.attention < 1)).all()
    assert (output.au_text_logits is not None) == parts[1]
    assert (output.face_text_logits is not None) == parts[2]
    losses = output.losses
    terms = [losses.aus, losses.au_texts, losses.face_texts]
    assert [term is not None for term in terms] == [True, *parts[1:]]
    torch.testing.assert_close(losses.total, sum(term for term in terms if term is not None))
    losses.total.backward()
    for name, parameter in network.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.any())
        assert reached == parameter.requires_grad, name
    names = {name.split(".")[0] for name, _ in network.named_parameters()}
    expected = {name for name, index in BRANCHES.items() if parts[index]}
    assert names == {"backbone", "stem", "classifier"} | expected


def test_without_refinement_all_aus_read_the_pooled_stem(make_network, images):
    network = make_network(**ablated((False, False, False))).eval()
    output = network(images)
    pooled = network.stem(network.backbone(images)).mean((2, 3))
    for a in range(3):
        torch.testing.assert_close(output.features[:, a], pooled)
    logits = torch.einsum("bad,ad->ba", output.features, network.classifier.weight[:, 0])
    torch.testing.assert_close(output.logits, logits + network.classifier.bias)


@pytest.mark.parametrize("shared", [True, False])
def test_an_au_is_recognised_and_described_by_its_own_branch(make_network, images, texts, shared):
    network = make_network(shared_decoder=shared)
    targets = texts.targets(LABELS)
    of_first = targets.aus.clone()
    of_first[:, 1:] = IGNORED
    output = network(
        images,
        torch.where(torch.arange(3) == 0, LABELS, 9),
        targets._replace(aus=of_first, faces=torch.full_like(targets.faces, IGNORED)),
    )
    output.losses.total.backward()
    for weight in (
        network.classifier.weight,
        network.refinement.channel.reduce.weight,
        network.refinement.spatial.convolution.weight,
    ):
        assert [bool(part.any()) for part in weight.grad] == [True, False, False]
    assert not any(p.grad.any() for p in network.face_language.parameters())
    trained = [
        any(p.grad is not None and p.grad.any() for p in decoder.parameters())
        for decoder in network.au_language.decoders
    ]
    assert trained == ([True] if shared else [True, False, False])


def test_terms_are_weighted(make_network, images, texts):
    targets = texts.targets(LABELS)
    plain = make_network()(images, LABELS, targets).losses
    weights = {"au_texts_weight": 0.25, "face_texts_weight": 0.5, "au_weights": [0.0, 3.0, 0.0]}
    losses = make_network(**weights)(images, LABELS, targets).losses
    expected = losses.aus + 0.25 * plain.au_texts + 0.5 * plain.face_texts
    torch.testing.assert_close(losses.total, expected)
    only = torch.where(torch.arange(3) == 1, LABELS, 9)
    of_second = make_network()(images, only, texts.targets(only)).losses.aus
    torch.testing.assert_close(losses.aus, of_second)


def test_missing_labels_change_no_loss(make_network, images, texts):
    network = make_network().eval()
    labels = LABELS.clone()
    labels[1, 2], labels[3] = 9, 9
    before = network(images, labels, texts.targets(labels)).losses
    changed = images.clone()
    changed[3] = 0.5  # a face without labels
    after = network(changed, labels, texts.targets(labels)).losses
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    nothing = torch.full_like(labels, 9)
    assert network(images, nothing, texts.targets(nothing)).losses.total == 0


def test_settings_rebuild_it(make_network, images):
    network = make_network(
        shared_decoder=False, au_weights=[0.5, 1.5, 1.0], told_states=0.5, text_share=0.5
    )
    settings = json.loads(json.dumps(network.settings()))
    again = VLFAU.from_settings(settings)
    again.load_state_dict(network.state_dict())
    one, other = network.describe(images[:1]), again.describe(images[:1])
    assert torch.equal(one.output.logits, other.output.logits)
    assert (one.au_texts, one.face_texts) == (other.au_texts, other.face_texts)
    assert again.settings() == network.settings()


def test_language_can_be_removed(make_network, images):
    network = make_network()
    before = network.describe(images[:1]).output
    network.remove_language()
    after = network.describe(images[:1]).output
    assert torch.equal(after.logits, before.logits)
    assert torch.equal(after.attention, before.attention)
    without = VLFAU.from_settings(network.settings())
    without.load_state_dict(network.state_dict())
    described = without.describe(images[:1])
    assert described.au_texts is None and described.face_texts is None
    assert torch.equal(described.output.logits, before.logits)


def test_the_backbone_has_a_learning_rate_of_its_own(make_network):
    network = make_network()
    of_backbone = {p for group, p in rate_groups(network) if group == "backbone"}
    assert of_backbone == {p for p in network.backbone.parameters() if p.requires_grad}


def test_it_learns_faces_and_describes_them(make_network, images, texts, vocabulary):
    network = make_network()
    targets = texts.targets(LABELS)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        network(images, LABELS, targets).losses.total.backward()
        optimizer.step()
    network.train()
    described = network.describe(images)
    assert network.training
    assert torch.equal(described.output.logits > 0, LABELS == 1)
    assert described.au_texts == [vocabulary.decode(row) for row in targets.aus]
    assert described.face_texts == vocabulary.decode(targets.faces)
    assert network.describe(images).face_texts == described.face_texts
    network.eval()
    output = network(images, LABELS, targets)
    assert token_accuracy(output.au_text_logits, targets.aus) == 1
    assert token_accuracy(output.face_text_logits, targets.faces) == 1
    found = agreement(
        facs(), network.aus, described.output.logits > 0,
        au_texts=described.au_texts, face_texts=described.face_texts,
    )  # fmt: skip
    assert found.au_texts == found.face_texts == 1


def test_texts_follow_the_predictions_that_condition_them(make_network, images, texts):
    """Maps that are drawn anew in every step tell nothing of the labels, so that only states can tell them."""
    network, generator = make_network(told_states=0.8), torch.Generator().manual_seed(1)
    au_language, face_language = network.au_language, network.face_language
    parameters = [*au_language.parameters(), *face_language.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    for _ in range(120):
        labels = (torch.rand(8, 3, generator=generator) < 0.5).long()
        states, targets = hidden_at_random(labels, told=0.8), texts.targets(labels)
        maps = torch.rand(8, 3, 16, 1, 2, generator=generator)
        optimizer.zero_grad()
        loss = text_loss(au_language(maps, targets.aus, states), targets.aus)
        loss = loss + text_loss(face_language(maps[:, 0], targets.faces, states), targets.faces)
        loss.backward()
        optimizer.step()
    middle = network.eval()(images).logits.detach().median(0).values
    for active_from in (middle, torch.full((3,), -1e9)):
        described = network.describe(images, active_from=active_from)
        found = agreement(
            facs(), network.aus, described.output.logits >= active_from,
            au_texts=described.au_texts, face_texts=described.face_texts,
        )  # fmt: skip
        assert found.au_texts == found.face_texts == 1


def test_texts_are_told_no_label_outside_of_training(make_network, images, texts):
    network = make_network(told_states=1.0)
    targets = texts.targets(LABELS)
    given, opposite = (network(images, labels, targets) for labels in (LABELS, 1 - LABELS))
    assert not torch.allclose(given.au_text_logits, opposite.au_text_logits)
    assert not torch.allclose(given.face_text_logits, opposite.face_text_logits)
    network.eval()
    given, opposite = (network(images, labels, targets) for labels in (LABELS, 1 - LABELS))
    assert torch.equal(given.au_text_logits, opposite.au_text_logits)
    assert torch.equal(given.face_text_logits, opposite.face_text_logits)


def test_hidden_states_leave_the_image_alone(make_network, images, texts):
    conditioned, plain = make_network(told_states=1e-9), make_network()
    plain.load_state_dict(conditioned.state_dict(), strict=False)
    targets = texts.targets(LABELS)
    found, expected = (network(images, LABELS, targets) for network in (conditioned, plain))
    torch.testing.assert_close(found.au_text_logits, expected.au_text_logits)


def test_all_states_of_a_face_are_told_or_none():
    states = torch.ones(4000, 3, dtype=torch.long)
    hidden = (hidden_at_random(states, told=0.7) == 9).sum(1)
    assert set(hidden.tolist()) == {0, 3}
    assert abs((hidden == 0).float().mean() - 0.7) < 0.05


def test_a_share_of_the_faces_has_texts_in_training(make_network, images, texts):
    targets = texts.targets(LABELS)
    whole, half = (make_network(text_share=share)(images, LABELS, targets) for share in (1, 0.5))
    torch.testing.assert_close(half.logits, whole.logits)
    torch.testing.assert_close(half.losses.aus, whole.losses.aus)
    torch.testing.assert_close(half.au_text_logits, whole.au_text_logits[:2])
    of_two = text_loss(whole.au_text_logits[:2], targets.aus[:2])
    torch.testing.assert_close(half.losses.au_texts, of_two)
    evaluated = make_network(text_share=0.5).eval()(images, LABELS, targets)
    assert len(evaluated.au_text_logits) == len(evaluated.face_text_logits) == 4


def test_refusals(make_network, images, vocabulary):
    with pytest.raises(ValueError, match="grid_stage is 4; the backbone has stages 1 to 3"):
        make_network(grid_stage=4)
    with pytest.raises(ValueError, match="width 16 is not divisible by reduction 3"):
        make_network(reduction=3)
    with pytest.raises(ValueError, match="kernel is 4; it must be odd"):
        make_network(kernel=4)
    with pytest.raises(ValueError, match="au_loss 'focal' is unknown; expected asymmetric or"):
        make_network(au_loss="focal")
    with pytest.raises(ValueError, match="2 au_weights for 3 AUs"):
        make_network(au_weights=[1.0, 1.0])
    with pytest.raises(ValueError, match="au_texts is set with no vocabulary"):
        make_network(vocabulary=None)
    with pytest.raises(ValueError, match=r"that of \(1, 2\); expected a vocabulary of the AUs"):
        make_network(vocabulary=vocabulary_of(facs(), (1, 2)))
    with pytest.raises(ValueError, match="labels without texts"):
        make_network()(images, LABELS)
