"""Where a dump keeps its covers, clips and released frames; what to say where it seems to have none."""

from pathlib import Path

from prep.readers.media_folder import CLIPS, PICTURES, MediaFolder
from prep.readers.survey import NUMBERED, Survey

COVER_WORDS = ["cover", "item_images"]  # the second is of MicroLens' challenge
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
    """The folders of a dump that hold its media; None where there is none of a kind.

    Args:
        dump: its folder.
    """

    def __init__(self, dump: Path) -> None:
        self.dump = dump.absolute()  # workers elsewhere have another current folder
        self._survey = Survey(self.dump)
        self._found = {
            "covers": self._find(COVER_WORDS, PICTURES[0]),
            "clips": self._find([CLIP_WORD], CLIPS[0]),
            "released": self._find([STILLS_WORD], NUMBERED + PICTURES[0]),
        }
        self.covers = self._folder("covers", PICTURES)
        self.clips = self._folder("clips", CLIPS)
        self.released = self._folder("released", PICTURES)

    def why_none(self, step: str) -> str:
        """Why a step, covers or frames, finds nothing: what looks as if it were meant, and what is expected."""
        of_covers = step == "covers"
        words = COVER_WORDS if of_covers else [CLIP_WORD, STILLS_WORD]
        taken = [path for path in self._found.values() if path]
        hints = self._survey.hints(words, PICTURES[0] if of_covers else CLIPS[0], taken)
        return f"{NONE}: {'; '.join(hints)}; {_EXPECTED[step]}" if hints else NONE

    def unread(self) -> list[str]:
        """A sentence for each kind that several folders hold, of which one is read."""
        looks = {
            "covers": (COVER_WORDS, PICTURES[0]),
            "clips": ([CLIP_WORD], CLIPS[0]),
            "released": ([STILLS_WORD], NUMBERED + PICTURES[0]),
        }
        told = []
        for kind, (words, ending) in looks.items():
            path = self._found[kind]
            word = next((w for w in words if path and w in path.name.lower()), None)
            others = self._survey.others(word, ending) if path and word else []
            if path and others:
                told.append(
                    f"{path.relative_to(self.dump)}/ is read, and {', '.join(others[:3])} is not, though it holds "
                    "such files too; put them into one folder"
                )
        return told

    def _find(self, words: list[str], ending: str) -> Path | None:
        found = (self._survey.find(word, ending) for word in words)
        return next((path for path in found if path), None)

    def _folder(self, kind: str, suffixes: list[str]) -> MediaFolder | None:
        path = self._found[kind]
        return MediaFolder(self.dump, path, suffixes) if path else None
