"""Collects the captions that a captioner yields into lists and dictionaries, for comparison in tests."""

import threading
from collections.abc import Sequence

import pytest

from prep.captioners import Captioner, CaptionError, Request


def captions(captioner: Captioner, requests: Sequence[Request]) -> list[str]:
    """Of all requests, in their order; each comes once."""
    found = sorted(pair for made in captioner.captions(requests) for pair in made.items())
    assert [index for index, _ in found] == list(range(len(requests)))
    return [text for _, text in found]


def captions_and_error(
    captioner: Captioner, requests: Sequence[Request], match: str
) -> tuple[dict[int, str], CaptionError]:
    """What was yielded before the call failed, and how it did."""
    found: dict[int, str] = {}
    with pytest.raises(CaptionError, match=match) as told:
        for made in captioner.captions(requests):
            found |= made
    return found, told.value


def threads_at_work() -> list[str]:
    """The threads of captioners, which are named for it."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("caption")]
