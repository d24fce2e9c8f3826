"""The synthetic world: items with attributes, users with tastes, and the users' sequences.

Each item and each user has its own random generators, derived from the seed, a purpose and its row. So an item does not
depend on the number of other items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.random import Generator

from prep.synth import taste
from prep.synth.themes import SHAPES_THEME, Theme
from prep.synth.titles import draw_title
from prep.synth.traits import ATTRIBUTES_ALONE, Traits

ATTRIBUTES = SHAPES_THEME.attributes

_FIRST_MS = 1_660_000_000_000
_MONTH_MS = 30 * 24 * 3_600_000
_DAY_MS = 24 * 3_600_000


class Purpose(IntEnum):
    """The purpose of a generator. The numbers are part of the format: never reuse or reorder them."""

    ITEM = 0
    COVER = 1
    CLIP = 2
    USER = 3
    POPULARITY = 4
    ENCODER_TRAINING = 5
    ENCODER_TEST = 6
    CAPTIONER_TRAINING = 7
    CAPTIONER_TEST = 8
    TASTE = 9
    FACE = 10
    FACE_SEQUENCE = 11
    FACE_LABELS = 12
    FACE_RATES = 13


@dataclass(frozen=True)
class Item:
    """An item with its attributes, popularity and counts."""

    id: str
    words: dict[str, str]
    title: str
    log_popularity: float
    likes: int
    views: int


@dataclass(frozen=True)
class User:
    """A user with favourites and a sequence: item rows with times, oldest first."""

    id: str
    words: dict[str, str]
    rows: list[int]
    times_ms: list[int]


def generator(seed: int, purpose: Purpose, row: int = 0) -> Generator:
    """The generator of one row for one purpose; all generators have different streams."""
    return np.random.default_rng([seed, int(purpose), row])


def draw_words(rng: Generator, theme: Theme = SHAPES_THEME) -> dict[str, str]:
    """Draws a value for each attribute uniformly: an item's look or a user's favourites."""
    return {
        attribute: words[int(rng.integers(len(words)))]
        for attribute, words in theme.attributes.items()
    }


def draw_traits(taste_seed: int | None, theme: Theme = SHAPES_THEME) -> Traits:
    """What users see in the items of a world; without a seed, the attributes themselves."""
    if taste_seed is None:
        return ATTRIBUTES_ALONE
    return Traits.draw(theme.attributes, generator(taste_seed, Purpose.TASTE))


def draw_items(count: int, seed: int, theme: Theme = SHAPES_THEME) -> list[Item]:
    """Draws the catalogue; ids ascend with gaps."""
    popularity = taste.log_popularity(count, generator(seed, Purpose.POPULARITY))
    items: list[Item] = []
    last_id = 100
    for row in range(count):
        rng = generator(seed, Purpose.ITEM, row)
        last_id += int(rng.integers(2, 9))
        words = draw_words(rng, theme)
        title = draw_title(words["colour"], rng)
        views = int(2e5 * np.exp(popularity[row] + rng.normal(0, 0.5))) + 100
        likes = int(views * rng.uniform(0.01, 0.12))
        items.append(Item(str(last_id), words, title, float(popularity[row]), likes, views))
    return items


def draw_users(
    count: int,
    items: Sequence[Item],
    seed: int,
    traits: Traits = ATTRIBUTES_ALONE,
    theme: Theme = SHAPES_THEME,
) -> list[User]:
    """Draws the users and their sequences; user ids ascend with gaps.

    Args:
        count: number of users.
        items: the catalogue.
        seed: of the users.
        traits: what users see in an item.
        theme: what the items show.
    """
    seen = [traits.of(item.words) for item in items]
    item_words = {name: [words[name] for words in seen] for name in theme.attributes}
    popularity = np.array([item.log_popularity for item in items])
    users: list[User] = []
    last_id = 1000
    for row in range(count):
        rng = generator(seed, Purpose.USER, row)
        last_id += int(rng.integers(2, 6))
        words = draw_words(rng, theme)
        favourites = {name: [word] for name, word in words.items()}
        scores = taste.log_utilities(item_words, favourites, popularity, theme.strengths)[0]
        rows = taste.choose(scores, taste.sequence_length(len(items), rng), rng)
        users.append(User(str(last_id), words, rows, _draw_times_ms(len(rows), rng)))
    return users


def _draw_times_ms(length: int, rng: Generator) -> list[int]:
    """Draws strictly increasing times that begin within one month and are about a day apart."""
    gaps_ms = rng.exponential(_DAY_MS, size=length).astype(np.int64) + 1000
    start_ms = _FIRST_MS + int(rng.integers(_MONTH_MS))
    return [start_ms + int(gap) for gap in np.cumsum(gaps_ms)]
