import pytest

from toolkit import TowerSpec, UserError, select_layers

# IISAN-Versa's six groups: each encoder's depth and list (arXiv 2411.02992, REFERENCE §2).
PUBLISHED = {
    "LLaMA-3-70B": (80, [4, 19, 34, 49, 64, 79]),
    "LLaMA-3-8B": (32, [1, 7, 13, 19, 25, 31]),
    "LLaMA-7B": (32, [1, 7, 13, 19, 25, 31]),
    "Gemma-7B": (28, [2, 7, 12, 17, 22, 27]),
    "EVA-CLIP-18B": (48, [2, 11, 20, 29, 38, 47]),
    "Mistral, 56 layers": (56, [5, 15, 25, 35, 45, 55]),
    "BERT-large": (24, [3, 7, 11, 15, 19, 23]),
}


@pytest.mark.parametrize("encoder", PUBLISHED)
def test_group_dropping_gives_the_published_lists(encoder: str) -> None:
    depth, kept = PUBLISHED[encoder]
    assert select_layers("group-6", depth) == kept


def test_other_selections() -> None:
    assert select_layers("every-2", 12) == [1, 3, 5, 7, 9, 11]  # IISAN
    assert select_layers("all", 3) == [0, 1, 2]
    assert select_layers([5, 1, 3], 6) == [1, 3, 5]


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ("some", "not a valid selection"),
        ("every-x", "not a valid selection"),
        ([6], r"layers 0\.\.5"),
        ([], "layers"),
        ("group-6", "no 6 groups"),
    ],
)
def test_selections_that_do_not_fit_are_refused(selection: str | list[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        select_layers(selection, 6)


def test_a_tower_without_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'title'.*at least 1"):
        TowerSpec("title", layers=7, width=0)


def test_widths_are_one_for_each_state() -> None:
    listed = TowerSpec("cover", 3, 16, "image", [4, 8, 16])  # type: ignore[arg-type]
    assert listed == TowerSpec("cover", 3, 16, "image", (4, 8, 16)) and hash(listed)
    for widths in ((4, 8), (0, 8, 16), (4, 8, 17)):
        with pytest.raises(ValueError, match=r"'cover': widths must be 3 numbers from 1 to 16"):
            TowerSpec("cover", 3, 16, "image", widths)
