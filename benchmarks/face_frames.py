"""Memory and CPU time of face prediction over clips of growing length, without a trained network.

    python benchmarks/face_frames.py                                       # crops: 1,000, 2,000 and 5,000 frames
    python benchmarks/face_frames.py --detector centerface --frames 20 40  # a photograph that moves, 512 × 512 px

Prints, for each length, CPU seconds, milliseconds of CPU per frame and the peak memory of the process so far: lengths
ascend, so that memory is flat if the peak stays.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from models.facial.annotate import annotate
from models.facial.crop import CropRecipe
from models.facial.detector import DETECTORS, load_detector
from models.facial.frames import read_frames
from models.facial.predictions import Prediction, predictions, schema_of
from models.facial.table import read_rows, write_rows


class Colours:
    """A network without weights: its probabilities are colours."""

    aus = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
    thresholds = (0.5,) * 12
    recipe = CropRecipe()
    has_au_texts = has_face_texts = False

    def predict(self, crops: NDArray[np.uint8]) -> Prediction:
        """The colours of four pixels."""
        return Prediction(crops[:, 0, :4].reshape(len(crops), 12) / 255)


def pictures(side_px: int, count: int) -> Iterator[NDArray[np.uint8]]:
    """The astronaut of scikit-image, resized and moved by a pixel per frame."""
    (package,) = find_spec("skimage").submodule_search_locations
    image = cv2.imread(str(Path(package) / "data" / "astronaut.png"))
    image = cv2.resize(image, (side_px, side_px))[..., ::-1]
    for number in range(count):
        yield np.roll(image, number % (side_px // 8), axis=1)


def write_clip(path: Path, side_px: int, count: int) -> None:
    """Writes an H.264 clip of 25 frames per second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width = stream.height = side_px
        stream.pix_fmt = "yuv420p"
        for pixels in pictures(side_px, count):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main() -> None:
    """Measures each length in this process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[1000, 2000, 5000])
    parser.add_argument("--detector", choices=list(DETECTORS), default="none")
    parser.add_argument("--annotate", action="store_true", help="also write an annotated video")
    options = parser.parse_args()
    side_px = 160 if options.detector == "none" else 512
    detector, network = load_detector(options.detector), Colours()
    with tempfile.TemporaryDirectory() as folder:
        for count in sorted(options.frames):
            clip, table = Path(folder) / f"{count}.mp4", Path(folder) / "rows.csv"
            write_clip(clip, side_px, count)
            started = time.process_time()
            rows = predictions(read_frames(clip), detector, network)
            written = write_rows(rows, table, schema_of(network))
            if options.annotate:
                annotate(read_frames(clip), read_rows(table, schema_of(network)), clip.with_suffix(".out.mp4"))  # fmt: skip
            seconds = time.process_time() - started
            peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{count:>6,} frames, {written:,} rows: {seconds:6.1f} s CPU, {1000 * seconds / count:6.2f} ms per frame, "
                f"peak {peak_mib:,.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
