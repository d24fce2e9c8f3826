"""Titles: a few shared phrases with little information, in the style of short-video captions."""

from types import MappingProxyType

from numpy.random import Generator

# Each colour slightly prefers three phrases; no phrase names the content.
PHRASES = MappingProxyType(
    {
        "red": (
            "Wait for it... 😂 #fyp #funny",
            "Nobody told me about this, ever",
            "My evening in two seconds 🔥",
        ),
        "orange": (
            "Part 2, as you asked 🙏 #viral",
            "The ending though",
            "Small things, big mood ☀️",
        ),
        "yellow": (
            "Watch till the end 👀 #satisfying",
            "POV: it is Friday",
            'He said "just one more", and then...',
        ),
        "green": (
            "So calming, I could watch this all day 🌿",
            "First try! #nofilter",
            "How is this even possible? 🤯",
        ),
        "blue": (
            "Late night thoughts 🌙 #chill",
            "Day 12 of posting until someone notices",
            "Sound on, please 🎧 #relax #asmr",
        ),
        "purple": (
            "You did not see this coming ✨",
            "Tag a friend, no questions asked #friends",
            "Throwback to last summer",
        ),
    }
)

_PREFERENCE = 0.2


def draw_title(colour: str, rng: Generator) -> str:
    """Draws one of the 18 phrases: with probability 0.2 from the colour's own three, otherwise from all."""
    every = [phrase for phrases in PHRASES.values() for phrase in phrases]
    pool = PHRASES[colour] if rng.random() < _PREFERENCE else every
    return str(pool[int(rng.integers(len(pool)))])
