"""CPU-seconds per clip of each backend and sampling policy, compared with `decord.VideoReader(...).get_batch`."""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import cv2
import decord
import numpy as np

from prep.pictures.video import BACKENDS, load, probe
from prep.pictures.video.sampling import POLICIES
from toolkit.errors import UserError

CLIPS = Path(__file__).parents[2] / "shared" / "data" / "microlens-sample" / "videos"
FRAMES, SIZE_PX = 8, 224
SYNTHETIC = {"h264_gop_30": 30, "h264_gop_250": 250}  # name: frames from a keyframe to the next
BASELINE = "decord get_batch"
GOALS = {
    "pyav near": 1.4,
    "pyav keyframes": 10.0,
    "pyav uniform": 1.0,
}  # times as fast as the baseline
Method = Callable[[Path], object]


def main() -> None:
    """Measures every method on every clip in alternating rounds, and prints a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, default=CLIPS, help="folder of real clips, *.mp4")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name, gop in SYNTHETIC.items():
            write_h264(Path(folder) / f"{name}.mp4", gop)
        clips = [*sorted(options.clips.glob("*.mp4")), *sorted(Path(folder).glob("*.mp4"))]
        seconds = measure(clips, options.rounds)
        codecs = {clip.stem: probe(clip).codec for clip in clips}
    print_table(seconds, codecs)
    hevc = [name for name, codec in codecs.items() if codec == "hevc"]
    report = {
        "machine": cpu_name(),
        "rounds": options.rounds,
        "seconds": seconds,
        "times_as_fast_on_hevc": {goal: speedup(seconds, goal, hevc) for goal in GOALS},
        "times_as_fast_on_all": {goal: speedup(seconds, goal, list(seconds)) for goal in GOALS},
        "goals": GOALS,
    }
    print(json.dumps(report))


def write_h264(path: Path, gop: int) -> None:
    """10 s of 1280 x 720 at 30 frames per second: moving shapes on a drifting background, with film grain."""
    rng = np.random.default_rng(0)
    ground = soft_noise(rng, (900, 1900), blur=12)
    things = [soft_noise(rng, (160, 160), blur=4) for _ in range(12)]
    grains = rng.normal(0, 3, (8, 720, 1280, 1)).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.options = {"preset": "medium", "crf": "23", "g": str(gop)}
        for row in range(300):
            pixels = ground[row // 2 : row // 2 + 720, 2 * row : 2 * row + 1280] + grains[row % 8]
            for number, thing in enumerate(things):
                left, top = (97 * number + (number - 6) * row) % 1120, (53 * number + 2 * row) % 560
                pixels[top : top + 160, left : left + 160] = thing
            frame = np.clip(pixels, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode(None))


def soft_noise(rng: np.random.Generator, shape: tuple[int, int], *, blur: float) -> np.ndarray:
    """Smooth colour noise, 0 to 255."""
    noise = rng.normal(0, 1, (*shape, 3)).astype(np.float32)
    blots = cv2.GaussianBlur(noise, (0, 0), blur)
    return cv2.normalize(blots, blots, 0, 255, cv2.NORM_MINMAX)


def measure(clips: list[Path], rounds: int) -> dict[str, dict[str, float]]:
    """Median CPU-seconds (user and system, all threads of this process) of each method by clip."""
    spent: dict[tuple[Path, str], list[float]] = {}
    for _ in range(rounds):
        for name, method in methods().items():
            for clip in clips:  # alternate the clips, so that no clip stays in the cache
                before = cpu_seconds()
                method(clip)
                spent.setdefault((clip, name), []).append(cpu_seconds() - before)
    return {
        clip.stem: {name: round(statistics.median(spent[clip, name]), 4) for name in methods()}
        for clip in clips
    }


def methods() -> dict[str, Method]:
    """The compared methods: decord as it is commonly called, then ours."""
    ours = {f"{name} uniform": partial(frames, name, "uniform") for name in loadable()}
    cheaper = {f"pyav {name}": partial(frames, "pyav", name) for name in ("near", "keyframes")}
    return {BASELINE: get_batch, **ours, **cheaper}


def loadable() -> list[str]:
    """The backends that this machine has."""
    found = []
    for name in BACKENDS:
        try:
            load(name)
        except UserError as error:
            print(error, file=sys.stderr)
        else:
            found.append(name)
    return found


def frames(backend: str, sampling: str, clip: Path) -> object:
    """The work of `prep media` for a clip, without JPEG encoding."""
    decoder = load(backend)
    seconds, tolerance_seconds = POLICIES[sampling](decoder.probe(clip), FRAMES, 1)
    found = decoder.frames_at(clip, seconds, SIZE_PX, tolerance_seconds=tolerance_seconds)
    assert len(found.pixels) == FRAMES
    return found


def get_batch(clip: Path) -> object:
    """decord: the same frames, scaled down in the same way."""
    reader = decord.VideoReader(str(clip), num_threads=1)
    step = len(reader) / FRAMES
    batch = reader.get_batch([int((row + 0.5) * step) for row in range(FRAMES)]).asnumpy()
    height, width = batch.shape[1:3]
    scale = SIZE_PX / min(height, width)
    size = (round(width * scale), round(height * scale))
    return [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in batch]


def cpu_seconds() -> float:
    """CPU time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def speedup(seconds: dict[str, dict[str, float]], method: str, clips: list[str]) -> float | None:
    """Speed relative to decord, median over the clips."""
    ratios = [seconds[clip][BASELINE] / seconds[clip][method] for clip in clips]
    return round(statistics.median(ratios), 2) if ratios else None


def print_table(seconds: dict[str, dict[str, float]], codecs: dict[str, str]) -> None:
    """One row per method, one column per clip: CPU-seconds and speed relative to decord."""
    print(
        "| CPU-seconds (times as fast) | " + " | ".join(f"{c} {codecs[c]}" for c in seconds) + " |"
    )
    print("|---" * (len(seconds) + 1) + "|")
    for method in next(iter(seconds.values())):
        cells = (
            f"{spent[method]:.3f} ({spent[BASELINE] / spent[method]:.2f})"
            for spent in seconds.values()
        )
        print(f"| {method} | " + " | ".join(cells) + " |")


def cpu_name() -> str:
    """The CPU's name, from lscpu."""
    told = subprocess.run(["lscpu"], capture_output=True, text=True, check=False).stdout
    lines = (line.partition(":") for line in told.splitlines())
    return next((v.strip() for k, _, v in lines if k == "Model name"), platform.processor())


if __name__ == "__main__":
    main()
