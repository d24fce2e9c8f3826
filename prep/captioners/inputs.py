"""Payloads as transformers' processors take them: decoded pixels, conversations, times of frames."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prep.captioners.captioner import Payload, Request
from toolkit.images import decode_jpeg

TICKS = 1000  # a second, when the times of frames are told as whole numbers


class UndecodableError(ValueError):
    """A request's frames cannot be decoded.

    Args:
        row: which request of the batch.
        reason: of `decode_jpeg`, and which frame.
    """

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row = row
        self.reason = reason


def decode_frames(payload: Payload) -> list[NDArray[np.uint8]]:
    """Its frames as pixels, each (height, width, 3) RGB.

    Raises:
        ValueError: if there is none, or one cannot be decoded, naming it.
    """
    if not payload.frames:
        raise ValueError("there is no frame to look at")
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
        UndecodableError: naming the first request that has one which cannot be decoded.
    """
    pixels = []
    for row, request in enumerate(requests):
        try:
            pixels.append(decode_frames(request.payload))
        except ValueError as error:
            raise UndecodableError(row, str(error)) from None
    return pixels


def conversation(prompt: str, *, is_video: bool) -> list[dict[str, Any]]:
    """One turn of a user who shows something and asks."""
    shown = {"type": "video" if is_video else "image"}
    return [{"role": "user", "content": [shown, {"type": "text", "text": prompt}]}]


def video_metadata(payload: Payload) -> dict[str, Any]:
    """When the frames are on screen, as `transformers.video_utils.VideoMetadata` says it.

    Some models write the times into the prompt (SmolVLM, Qwen3-VL) or into positions (Qwen2.5-VL, by the mean
    distance between frames). Frames whose times nobody knows are told as one second apart.
    """
    count = len(payload.frames)
    times = list(payload.pts_seconds) if payload.pts_seconds else [float(k) for k in range(count)]
    distance = (times[-1] - times[0]) / (count - 1) if count > 1 else 1.0
    distance = max(distance, 1 / TICKS)  # a frame may be there several times
    return {
        "fps": float(TICKS),
        "frames_indices": [round(t * TICKS) for t in times],
        "total_num_frames": max(round(count * distance * TICKS), 1),
        "duration": times[-1] + distance / 2,
    }
