import pytest
import torch
import torch.nn.functional as F

from models.facial import vocabulary_of
from models.facial.decoder import TextDecoder, text_loss
from models.facial.vocabulary import END, IGNORED, pad
from models.parameters import decayed
from toolkit.facs import facs

AUS = (4, 6, 9, 12)
VOCABULARY = vocabulary_of(facs(), AUS)
PHRASES = [facs().unit_text(au, active=active) for au in AUS for active in (True, False)]
TARGETS = pad([VOCABULARY.encode(text) for text in PHRASES], IGNORED)
STARTS = VOCABULARY.au_starts.repeat_interleave(2)
D, S = 16, 5


def make(seed: int = 0, **changes: float) -> TextDecoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes = {"width": D, "layers": 1, "heads": 2, "dropout": 0.0, **changes}
        return TextDecoder(len(VOCABULARY), max_tokens=VOCABULARY.au_tokens, **sizes)


@pytest.fixture(scope="module")
def cells() -> torch.Tensor:
    return torch.randn(len(PHRASES), S, D, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def fitted(cells: torch.Tensor) -> TextDecoder:
    decoder = make()
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.02)
    for _ in range(80):
        optimizer.zero_grad()
        text_loss(decoder(cells, STARTS, TARGETS), TARGETS).backward()
        optimizer.step()
    return decoder


@pytest.mark.parametrize("beams", [1, 3])
def test_it_learns_eight_phrases_exactly(fitted, cells, beams):
    assert VOCABULARY.decode(fitted.generate(cells, STARTS, beams=beams)) == PHRASES


@pytest.mark.parametrize("beams", [1, 3])
def test_generation_is_deterministic_and_of_each_text_alone(cells, beams):
    decoder = make(dropout=0.5).train()
    tokens = decoder.generate(cells, STARTS, beams=beams)
    assert decoder.training
    torch.manual_seed(1)
    assert torch.equal(decoder.generate(cells, STARTS, beams=beams), tokens)
    backwards = decoder.generate(cells.flip(0), STARTS.flip(0), beams=beams)
    assert torch.equal(backwards.flip(0), tokens)
    alone = decoder.generate(cells[2:3], STARTS[2:3], beams=beams)
    assert torch.equal(alone[0], tokens[2, : alone.shape[1]])


def test_greedy_search_is_the_most_probable_next_token(fitted, cells):
    noisy = cells + torch.randn(cells.shape, generator=torch.Generator().manual_seed(1))
    tokens = fitted.generate(noisy, STARTS)
    with torch.no_grad():
        best = fitted(noisy, STARTS, tokens).argmax(-1)
    until_end = (tokens == END).long().cumsum(1) - (tokens == END).long() == 0
    assert until_end.sum() > 40
    assert torch.equal(best[until_end], tokens[until_end])


def test_beam_search_finds_texts_of_at_least_the_greedy_probability(cells):
    decoder = make(seed=2).eval()

    def log_probability(tokens):
        with torch.no_grad():
            log_p = decoder(cells, STARTS, tokens).log_softmax(-1)
        return log_p.gather(2, tokens[..., None]).squeeze(-1).mean(1)

    greedy, beam = (decoder.generate(cells, STARTS, beams=beams) for beams in (1, 4))
    assert greedy.shape == beam.shape == (len(PHRASES), VOCABULARY.au_tokens)  # none has ended
    assert (log_probability(beam) >= log_probability(greedy) - 1e-5).all()
    assert not torch.equal(greedy, beam)


def test_a_token_depends_on_tokens_before_it_alone(cells):
    decoder = make().eval()
    changed = TARGETS.clone()
    changed[:, 4] = 7
    with torch.no_grad():
        one, other = (decoder(cells, STARTS, targets) for targets in (TARGETS, changed))
        of_another_au = decoder(cells, STARTS.flip(0), TARGETS)
    torch.testing.assert_close(one[:, :5], other[:, :5])
    assert not torch.allclose(one[:, 5], other[:, 5])
    assert not torch.allclose(one[:, 0], of_another_au[:, 0])


def test_the_loss_is_the_mean_over_tokens_that_are_not_ignored():
    logits = torch.randn(2, 3, 4, requires_grad=True)
    targets = torch.tensor([[2, 1, IGNORED], [3, IGNORED, IGNORED]])
    log_p = F.log_softmax(logits, -1)
    expected = -(log_p[0, 0, 2] + log_p[0, 1, 1] + log_p[1, 0, 3]) / 3
    torch.testing.assert_close(text_loss(logits, targets), expected)
    nothing = text_loss(logits, torch.full((2, 3), IGNORED))
    assert nothing == 0 and nothing.requires_grad


def test_weight_decay_applies_to_its_matrices():
    decoder = make()
    names = {name for name, p in decoder.named_parameters() if p in decayed(decoder)}
    matrices = {name for name, p in decoder.named_parameters() if p.ndim == 2 and ".h." in name}
    assert len(matrices) == 7 and matrices <= names
    assert not any("ln_" in name or "bias" in name or "wpe" in name for name in names)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="width 16 is not divisible by decoder_heads 3"):
        make(heads=3)
