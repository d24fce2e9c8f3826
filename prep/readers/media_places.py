"""Finds the folders of covers, clips and released frames in a dump, and explains why a folder is missing."""

from pathlib import Path

from prep.readers.media_folder import CLIPS, PICTURES, MediaFolder
from prep.readers.survey import NUMBERED, Survey

COVER_WORDS = ["cover", "item_images"]  # item_images is used by the MicroLens challenge
CLIP_WORD = "video"
STILLS_WORD = "frame"
NONE = "the dump has none"
_EXPECTED = {
    "covers": "covers are read from a folder with 'cover' in its name, as covers/ITEM.jpg "
    f"({' '.join(PICTURES)})",
    "frames": "clips are read from a folder with 'video' in its name, as videos/ITEM.mp4 "
    f"({' '.join(CLIPS)}); released frames from one with 'frame' in it, as frames/ITEM-1.jpg",
}


class MediaPlaces:
    """The media folders of a dump; None for each kind that the dump does not have.

    Args:
        dump: folder of the dump.
    """

    def __init__(self, dump: Path) -> None:
        self.dump = dump.absolute()  # workers may have another working directory
        self._survey = Survey(self.dump)
        self._paths = {
            "covers": self._find(COVER_WORDS, PICTURES[0]),
            "clips": self._find([CLIP_WORD], CLIPS[0]),
            "released": self._find([STILLS_WORD], NUMBERED + PICTURES[0]),
        }
        self.covers = self._folder("covers", PICTURES)
        self.clips = self._folder("clips", CLIPS)
        self.released = self._folder("released", PICTURES)

    def why_none(self, step: str) -> str:
        """Why step `covers` or `frames` has no input: folders that look similar, and the expected folder."""
        is_covers = step == "covers"
        words = COVER_WORDS if is_covers else [CLIP_WORD, STILLS_WORD]
        taken = [path for path in self._paths.values() if path]
        hints = self._survey.hints(words, PICTURES[0] if is_covers else CLIPS[0], taken)
        return f"{NONE}: {'; '.join(hints)}; {_EXPECTED[step]}" if hints else NONE

    def unread(self) -> list[str]:
        """A message for each kind of media that several folders hold, because only one folder is read."""
        looks = {
            "covers": (COVER_WORDS, PICTURES[0]),
            "clips": ([CLIP_WORD], CLIPS[0]),
            "released": ([STILLS_WORD], NUMBERED + PICTURES[0]),
        }
        messages = []
        for kind, (words, ending) in looks.items():
            path = self._paths[kind]
            word = next((w for w in words if path and w in path.name.lower()), None)
            others = self._survey.others(word, ending) if path and word else []
            if path and others:
                messages.append(
                    f"{path.relative_to(self.dump)}/ is read, but {', '.join(others[:3])} with files of the same kind "
                    "is not; put all files into one folder"
                )
        return messages

    def _find(self, words: list[str], ending: str) -> Path | None:
        paths = (self._survey.find(word, ending) for word in words)
        return next((path for path in paths if path), None)

    def _folder(self, kind: str, suffixes: list[str]) -> MediaFolder | None:
        path = self._paths[kind]
        return MediaFolder(self.dump, path, suffixes) if path else None
