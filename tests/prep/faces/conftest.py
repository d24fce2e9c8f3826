"""Small synthetic dumps of faces, and a way to store them without a process per call."""

import shutil

import pytest

import prep
from prep.faces import pictures
from prep.synth.faces.dump import write_faces
from prep.synth.faces.settings import SynthFaces

SMALL = {"subjects": 6, "frames": 8, "size_px": 64}


@pytest.fixture(scope="session")
def bp4d_dump(tmp_path_factory):
    out = tmp_path_factory.mktemp("faces") / "bp4d"
    write_faces(out, SynthFaces(missing=0.1, occlusions=0.2, **SMALL), progress=False)
    return out


@pytest.fixture(scope="session")
def disfa_dump(tmp_path_factory):
    out = tmp_path_factory.mktemp("faces") / "disfa"
    write_faces(out, SynthFaces(like="disfa", **SMALL), progress=False)
    return out


@pytest.fixture
def broken(bp4d_dump, tmp_path):
    """A copy to break."""
    return shutil.copytree(bp4d_dump, tmp_path / "dump")


@pytest.fixture
def disfa_copy(disfa_dump, tmp_path):
    return shutil.copytree(disfa_dump, tmp_path / "dump")


@pytest.fixture
def store(monkeypatch):
    """`prep.faces`, decoding in this process."""
    monkeypatch.setattr(pictures, "watched", lambda read, *_, **__: read)

    def stored(dump, dataset, **settings):
        retry = settings.pop("retry_failed", False)
        config = prep.FacesConfig(workers=1, **settings)
        prep.faces(dump, dataset, config, retry_failed=retry)
        return dataset

    return stored
