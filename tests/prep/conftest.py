"""Small dumps, and the two real datasets where they are available."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from prep import MediaConfig, PrepConfig
from prep.pictures.video import BACKENDS, load
from toolkit import UserError

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data"
ONE_WORKER = PrepConfig(media=MediaConfig(workers=1))


@pytest.fixture
def own_dump(synth_dump: Path, tmp_path: Path) -> Path:
    """A copy of the synthetic dump, to spoil."""
    return Path(shutil.copytree(synth_dump, tmp_path / "dump"))


@pytest.fixture(scope="module")
def spoilt_dump(synth_dump, tmp_path_factory):
    """24 items, a few of which have a bad cover or clip."""
    dump = Path(shutil.copytree(synth_dump, tmp_path_factory.mktemp("spoilt") / "dump"))
    (dump / "prep.yaml").unlink()
    covers, clips = sorted((dump / "covers").iterdir()), sorted((dump / "videos").iterdir())
    covers[3].unlink()
    covers[7].write_bytes(b"no image")
    clips[2].write_bytes(covers[0].read_bytes())
    clips[11].write_bytes(clips[11].read_bytes()[:100])
    return dump


@pytest.fixture
def one_worker() -> PrepConfig:
    return ONE_WORKER


@pytest.fixture
def write_microlens(tmp_path: Path) -> Callable[..., Path]:
    """Writes a MicroLens-like dump from the texts of its files; five interactions a user suffice."""

    def write(
        *,
        titles: str | bytes = "item,title\na,one\nb,two\n",
        pairs_csv: str | None = None,
        pairs_tsv: str | None = "u\ta b a b a\n",
        likes: str | None = None,
    ) -> Path:
        dump = tmp_path / "small"
        dump.mkdir(exist_ok=True)
        for name, text in {
            "M_titles.csv": titles,
            "M_pairs.csv": pairs_csv,
            "M_pairs.tsv": pairs_tsv,
            "M_likes_and_views.txt": likes,
        }.items():
            if text is not None:
                (dump / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return dump

    return write


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL.is_dir():
        pytest.skip("the real data are not at ../shared/data")
    return REAL


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend by its name; not every machine has every one."""
    try:
        load(request.param)
    except UserError as error:
        if request.param in ("pyav", "opencv"):  # these are required
            raise
        pytest.skip(str(error))
    return str(request.param)
