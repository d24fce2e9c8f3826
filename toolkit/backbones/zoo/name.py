"""Names of video networks: `LIBRARY:NETWORK@FILE` has the weights of a local file, `LIBRARY:NETWORK@random` random ones."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from toolkit.backbones.fingerprint import fingerprint_of_file
from toolkit.errors import UserError

LIBRARIES = ("torchvision", "pytorchvideo")
RANDOM = "random"


@dataclass(frozen=True)
class ZooName:
    """A video network and its weights.

    Args:
        library: of `LIBRARIES`.
        network: what the library calls it, such as `r3d_18`.
        weights: path of a file, or `random`.
    """

    library: str
    network: str
    weights: str

    def __str__(self) -> str:
        return f"{self.library}:{self.network}@{self.weights}"

    @property
    def file(self) -> Path | None:
        """The file of the weights; None for random weights.

        Raises:
            UserError: if it does not exist.
        """
        if self.weights == RANDOM:
            return None
        file = Path(self.weights).expanduser()
        if not file.is_file():
            raise UserError(
                f"encoder {str(self)!r}: no such file of weights; download it first, or ask for @{RANDOM}"
            )
        return file

    @property
    def revision(self) -> str:
        """What pins the weights: a fingerprint of the file, or the torch that draws random weights (from seed 0).

        Raises:
            UserError: if the file does not exist.
        """
        if (file := self.file) is not None:
            return fingerprint_of_file(file)
        return f"random weights of torch {version('torch').partition('+')[0]}"

    @property
    def portable(self) -> str:
        """The name without the path to the file."""
        return f"{self.library}:{self.network}@{Path(self.weights).name}"


def parse_zoo_name(encoder: str) -> ZooName | None:
    """The video network that an encoder's name stands for; None for the name of another encoder.

    Raises:
        UserError: if it does not say which weights.

    >>> parse_zoo_name("torchvision:r3d_18@random")
    ZooName(library='torchvision', network='r3d_18', weights='random')
    """
    library, colon, rest = encoder.partition(":")
    if not colon or library not in LIBRARIES:
        return None
    network, _, weights = rest.partition("@")
    if not weights:
        raise UserError(
            f"encoder {encoder!r} does not name its weights, and none are downloaded; expected {library}:{network}@FILE "
            f"with a file that you have downloaded, or {library}:{network}@{RANDOM} for random weights"
        )
    return ZooName(library, network, weights)
