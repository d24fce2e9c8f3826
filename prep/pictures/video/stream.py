"""Which stream of a file is the film, its packets, and whether the file ends before its container says."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

from prep.pictures.video.matroska import is_whole

_ASIDE = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails


def film_stream(container: Any) -> Any | None:
    """The film among a file's video streams: the largest picture, by pixels.

    Of several that large, the one that the container marks as default, then the first. Pictures of a cover
    and thumbnails are none, and neither is a stream of a codec that FFmpeg does not know.
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
    """The stream's packets that hold data, in decoding order, up to where the file breaks off.

    A packet that the file's end cuts in two is left out.
    """
    may_break = (
        "mpegts" not in container.format.name
    )  # there the mark means a gap before the packet
    try:
        for packet in container.demux(stream):
            if packet.size and not (may_break and packet.is_corrupt):
                yield packet
    except av.FFmpegError:
        return


def decoded(context: Any, packet: Any | None) -> list[Any]:
    """The frames that come of a packet, or of the end (None); none where it is damaged, as FFmpeg has it."""
    try:
        return list(context.decode(packet))
    except av.FFmpegError:
        return []


def every_frame(container: Any, stream: Any) -> Iterator[Any]:
    """All frames that decode, in the decoder's order: what FFmpeg's own command shows."""
    for packet in packets(container, stream):
        yield from decoded(stream.codec_context, packet)
    yield from decoded(stream.codec_context, None)


def claimed_seconds(container: Any, stream: Any) -> float:
    """How long the stream is by its own account, else how long the container is; 0 where neither says."""
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        return float(
            stream.frames / stream.average_rate
        )  # FFmpeg's guess of the duration follows the size
    if stream.duration:
        return float(stream.duration * stream.time_base)
    tagged = tagged_seconds(stream)
    if tagged is not None:
        return tagged
    return float(container.duration / av.time_base) if container.duration else 0.0


def tagged_seconds(stream: Any) -> float | None:
    """How long a stream is by Matroska's tag DURATION (01:02:03.500000000); None without one.

    Blocks need not say how long they last, so that this alone tells how long the last picture stays.
    """
    for name, value in stream.metadata.items():
        found = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d*)?)", value.strip("\0 "))
        if name.upper().split("-")[0] == "DURATION" and found:
            hours, minutes, seconds = found.groups()
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return None


def lacks_data(path: Path, container: Any, stream: Any, count: int, missing_seconds: float) -> bool:
    """Whether a file whose picture ends earlier than claimed was cut, or its claim is about something else.

    Args:
        path: of the file.
        container: open.
        stream: the film.
        count: packets that it has, those that are not shown included.
        missing_seconds: from the end of the last of them to the end that is claimed.
    """
    if _is_matroska(container):
        with path.open("rb") as file:
            return not is_whole(file)
    if "mp4" in container.format.name and stream.frames:
        return bool(count < stream.frames)  # its tables list every picture
    return missing_seconds > 0 and not _others_reach(path, container, stream)


def _is_matroska(container: Any) -> bool:
    return "matroska" in container.format.name


def _others_reach(path: Path, container: Any, stream: Any) -> bool:
    """Whether another stream, the sound, reaches the container's end: then only the picture is shorter."""
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
