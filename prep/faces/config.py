"""The settings of `prep faces`; the command line fills them."""

from dataclasses import dataclass

from toolkit.arguments import refuse_below
from toolkit.errors import UserError
from toolkit.facs import checked_units


@dataclass(frozen=True)
class FacesConfig:
    """How a dump of faces is read and stored.

    Args:
        aus: the AUs of the columns of labels, in their order, such as 1,2,4. By default, the name of the lists decides:
            those of BP4D (12 AUs) or of DISFA (8). For DISFA's own files: which AUs to store; by default all.
        crops: CSV file with the columns path, x, y, width and height: the part of each picture to store, in pixels. By
            default whole pictures are stored.
        size_px: shorter side of a stored picture, in pixels; smaller pictures are not enlarged.
        name: name of the dataset; by default that of the lists.
        workers: number of decoding processes; 0 starts one per CPU core.
        picture_seconds: time limit per picture. After it, the decoding process is killed and the picture gets the
            status timeout.
    """

    aus: str = ""
    crops: str | None = None
    size_px: int = 256
    name: str | None = None
    workers: int = 0
    picture_seconds: float = 30.0

    def __post_init__(self) -> None:
        refuse_below({"size_px": 1, "workers": 0}, vars(self))
        if not self.picture_seconds > 0:
            raise UserError(f"picture_seconds is {self.picture_seconds}; it must be above 0")
        if self.aus:
            self.units  # noqa: B018  refuses unknown AUs

    @property
    def units(self) -> tuple[int, ...]:
        """The numbers of `aus`; empty by default.

        Raises:
            UserError: if they are not numbers of AUs separated by commas.
        """
        if not self.aus:
            return ()
        try:
            numbers = [int(number) for number in self.aus.split(",")]
        except ValueError:
            raise UserError(
                f"aus is {self.aus!r}; expected numbers separated by commas, such as 1,2,4"
            ) from None
        return checked_units(numbers, where="aus")
