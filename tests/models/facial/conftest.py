"""Tiny networks of faces: a Swin of three stages over 32 pixels, and the texts of three AUs; a photograph and clips."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from transformers import SwinConfig

import prep
from models.facial import VLFAU, StageBackbone, Texts, Vocabulary, vocabulary_of
from models.facial.centerface import CenterFace
from models.facial.config import (
    BackboneConfig,
    FaceConfig,
    FaceTrainConfig,
    NetworkConfig,
    ViewConfig,
)
from models.facial.train import train
from prep.faces import pictures as prep_pictures
from prep.synth.faces.dump import write_faces
from prep.synth.faces.settings import SynthFaces
from toolkit.facs import facs

AUS = (1, 12, 25)
PIXELS = 32
MakeNetwork = Callable[..., VLFAU]


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return vocabulary_of(facs(), AUS)


@pytest.fixture(scope="session")
def texts(vocabulary: Vocabulary) -> Texts:
    return Texts(facs(), vocabulary)


@pytest.fixture
def swin() -> SwinConfig:
    return SwinConfig(
        image_size=PIXELS,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1, 1],
        num_heads=[2, 2, 2],
        window_size=2,
        drop_path_rate=0.0,
    )


@pytest.fixture
def make_network(swin: SwinConfig, vocabulary: Vocabulary) -> MakeNetwork:
    """Builds a network with random weights; equal settings have equal weights."""

    def make(**settings: Any) -> VLFAU:
        tiny: dict[str, Any] = {
            "aus": AUS,
            "width": 16,
            "grid_stage": 2,
            "reduction": 4,
            "kernel": 3,
            "vocabulary": vocabulary,
            "shared_decoder": True,
            "decoder_layers": 1,
            "decoder_heads": 2,
            "decoder_dropout": 0.0,
        }
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return VLFAU(StageBackbone.from_config(swin), **(tiny | settings))

    return make


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    return torch.rand(4, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """(384, 384, 3) RGB: Eileen Collins, NASA, public domain; from scikit-image's wheel, without importing it."""
    (package,) = find_spec("skimage").submodule_search_locations
    image = cv2.imread(str(Path(package) / "data" / "astronaut.png"))
    return np.ascontiguousarray(image[:384, 64:448, ::-1])


@pytest.fixture(scope="session")
def centerface() -> CenterFace:
    return CenterFace()


@pytest.fixture
def write_image(tmp_path):
    def write(name: str, pixels: np.ndarray) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), pixels[..., ::-1])
        return path

    return write


@pytest.fixture
def write_video(tmp_path):
    """Writes a lossless video of 10 frames per second."""

    def write(name: str, pictures) -> Path:
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("ffv1", rate=10, options={"threads": "1"})
            height, width = pictures[0].shape[:2]
            stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
            for pixels in pictures:
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return tmp_path / name

    return write


def _stored(like: str, folder: Path, **settings: Any) -> Path:
    """A dataset of synthetic faces, stored in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prep_pictures, "watched", lambda read, *_, **__: read)
        small = {"subjects": 6, "frames": 16, "size_px": 40, **settings}
        write_faces(folder / f"{like}-dump", SynthFaces(like=like, **small), progress=False)
        prep.faces(folder / f"{like}-dump", folder / like, prep.FacesConfig(workers=1))
    return folder / like


@pytest.fixture(scope="session")
def bp4d(tmp_path_factory) -> Path:
    return _stored("bp4d", tmp_path_factory.mktemp("faces"), missing=0.1)


@pytest.fixture(scope="session")
def disfa(tmp_path_factory) -> Path:
    return _stored("disfa", tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="session")
def make_config(bp4d) -> Callable[..., FaceConfig]:
    """The settings of a run that takes a second; `network`, `view` and `train` are dicts of changes."""

    def make(output: Path, **changes: Any) -> FaceConfig:
        network = {"width": 16, "grid_stage": 2, "reduction": 4, "kernel": 3, "shared_decoder": True,
                   "decoder_layers": 1, "decoder_heads": 2, "decoder_dropout": 0.1}  # fmt: skip
        architecture = {"model_type": "resnet", "layer_type": "basic", "embedding_size": 8,
                        "hidden_sizes": [8, 16], "depths": [1, 1]}  # fmt: skip
        train = {"epochs": 2, "batch_size": 24, "log_every_steps": 1, "trackers": []}
        return FaceConfig(
            data=str(changes.pop("data", bp4d)),
            output=str(output),
            view=ViewConfig(**{"resize_px": 36, "crop_px": 32, **changes.pop("view", {})}),
            backbone=changes.pop("backbone", BackboneConfig(architecture=architecture)),
            network=NetworkConfig(**(network | changes.pop("network", {}))),
            train=FaceTrainConfig(**(train | changes.pop("train", {}))),
            **changes,
        )

    return make


@pytest.fixture(scope="session")
def trained_run(make_config, tmp_path_factory) -> Path:
    """A run of two epochs; tests read it and must not change it."""
    run = tmp_path_factory.mktemp("runs") / "run"
    train(make_config(run))
    return run
