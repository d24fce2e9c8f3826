"""Finds the video stream of a file, reads its packets, and detects files that end before their declared end."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

from prep.pictures.video.boxes import ends_within_fragment
from prep.pictures.video.matroska import is_whole

_ASIDE = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails


def film_stream(container: Any) -> Any | None:
    """The main video stream of a file: the largest picture, by number of pixels.

    Ties are resolved in favour of the stream that the container marks as default, then the first. Cover pictures,
    thumbnails, and streams with a codec that FFmpeg does not know are excluded.
    """
    films = [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not stream.disposition & _ASIDE
    ]
    return max(films, key=_worth, default=None)


def _worth(stream: Any) -> tuple[int, bool]:
    context = stream.codec_context
    is_default = bool(stream.disposition & av.stream.Disposition.default)
    return context.width * context.height, is_default


def packets(container: Any, stream: Any) -> Iterator[Any]:
    """The stream's packets with data, in decoding order, up to the end of a truncated file.

    A packet that the end of the file cuts off is skipped.
    """
    # In MPEG-TS, the mark means a gap before the packet.
    may_break = "mpegts" not in container.format.name
    try:
        for packet in container.demux(stream):
            if packet.size and not (may_break and packet.is_corrupt):
                yield packet
    except av.FFmpegError:
        return


def decoded(context: Any, packet: Any | None) -> list[Any]:
    """The frames of a packet, or the remaining frames at the end (None); none if the packet is damaged, as in FFmpeg."""
    try:
        return list(context.decode(packet))
    except av.FFmpegError:
        return []


def every_frame(container: Any, stream: Any) -> Iterator[Any]:
    """All decodable frames, in the decoder's order, as FFmpeg's own command shows them."""
    for packet in packets(container, stream):
        yield from decoded(stream.codec_context, packet)
    yield from decoded(stream.codec_context, None)


def claimed_seconds(container: Any, stream: Any) -> float:
    """The declared duration of the stream, or else of the container; 0 if neither declares one."""
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        # FFmpeg guesses the duration of an AVI file from its size.
        return float(stream.frames / stream.average_rate)
    if stream.duration:
        return float(stream.duration * stream.time_base)
    tagged = tagged_seconds(stream)
    if tagged is not None:
        return tagged
    return float(container.duration / av.time_base) if container.duration else 0.0


def tagged_seconds(stream: Any) -> float | None:
    """The duration of a stream by Matroska's tag DURATION (01:02:03.500000000); None without this tag.

    Blocks may lack a duration, so only this tag determines how long the last picture stays on screen.
    """
    for name, value in stream.metadata.items():
        match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d*)?)", value.strip("\0 "))
        if name.upper().split("-")[0] == "DURATION" and match:
            hours, minutes, seconds = match.groups()
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return None


def lacks_data(path: Path, container: Any, stream: Any, count: int, missing_seconds: float) -> bool:
    """Whether a file is truncated whose video ends before its declared end.

    Args:
        path: path of the file.
        container: open container.
        stream: main video stream.
        count: number of its packets, including packets that are not shown.
        missing_seconds: time from the end of the last packet to the declared end.
    """
    if _is_matroska(container):
        with path.open("rb") as file:
            return not is_whole(file)
    if "mp4" in container.format.name and stream.frames:
        return bool(count < stream.frames)  # the tables of MP4 list every picture
    return missing_seconds > 0 and not _others_reach(path, container, stream)


def breaks_off(path: Path, container: Any, stream: Any) -> bool:
    """Whether a file in fragments, which declares no number of pictures, ends within one of them."""
    if "mp4" not in container.format.name or stream.frames:
        return False
    with path.open("rb") as file:
        return ends_within_fragment(file)


def _is_matroska(container: Any) -> bool:
    return "matroska" in container.format.name


def _others_reach(path: Path, container: Any, stream: Any) -> bool:
    """Whether the sound reaches the container's end, which means that only the video is shorter."""
    if not container.duration:
        return True
    ends = [0.0]
    with av.open(str(path)) as again:
        others = [s for s in again.streams if s.type == "audio"]
        try:
            for packet in again.demux(others) if others else ():
                if packet.pts is not None:
                    ends.append(float((packet.pts + (packet.duration or 0)) * packet.time_base))
        except av.FFmpegError:
            return False
    begin = (container.start_time or 0) / av.time_base
    return max(ends) - begin > container.duration / av.time_base - 0.5
