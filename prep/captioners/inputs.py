"""Converts payloads to inputs of transformers' processors: pixels, conversations and times of frames."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prep.captioners.captioner import Payload, Request
from toolkit.images import decode_jpeg

TICKS = 1000  # ticks per second for times of frames as integers


class UndecodableError(ValueError):
    """The frames of a request cannot be decoded.

    Args:
        row: index of the request in the batch.
        reason: message of `decode_jpeg`, with the frame.
    """

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row = row
        self.reason = reason


def decode_frames(payload: Payload) -> list[NDArray[np.uint8]]:
    """The frames of a payload as pixels, each (height, width, 3) RGB.

    Raises:
        ValueError: if there are no frames, or a frame cannot be decoded.
    """
    if not payload.frames:
        raise ValueError("the payload has no frames")
    pixels = []
    for number, frame in enumerate(payload.frames):
        try:
            pixels.append(decode_jpeg(frame))
        except ValueError as error:
            raise ValueError(f"frame {number} cannot be decoded ({error})") from None
    return pixels


def decode_batch(requests: Sequence[Request]) -> list[list[NDArray[np.uint8]]]:
    """The frames of each request.

    Raises:
        UndecodableError: with the first request that has an undecodable frame.
    """
    pixels = []
    for row, request in enumerate(requests):
        try:
            pixels.append(decode_frames(request.payload))
        except ValueError as error:
            raise UndecodableError(row, str(error)) from None
    return pixels


def conversation(prompt: str, *, is_video: bool) -> list[dict[str, Any]]:
    """A conversation with one turn of the user: an image or video, and the prompt."""
    shown = {"type": "video" if is_video else "image"}
    return [{"role": "user", "content": [shown, {"type": "text", "text": prompt}]}]


def video_metadata(payload: Payload) -> dict[str, Any]:
    """The times of the frames in the form of `transformers.video_utils.VideoMetadata`.

    Some models write the times into the prompt (SmolVLM, Qwen3-VL) or into positions (Qwen2.5-VL, by the mean
    distance between frames). If the times are unknown, frames are one second apart.
    """
    count = len(payload.frames)
    times = list(payload.pts_seconds) if payload.pts_seconds else [float(k) for k in range(count)]
    distance = (times[-1] - times[0]) / (count - 1) if count > 1 else 1.0
    distance = max(distance, 1 / TICKS)  # frames may be repeated
    return {
        "fps": float(TICKS),
        "frames_indices": [round(t * TICKS) for t in times],
        "total_num_frames": max(round(count * distance * TICKS), 1),
        "duration": times[-1] + distance / 2,
    }
