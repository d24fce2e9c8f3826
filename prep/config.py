"""What a user can set, as typed dataclasses; the commands' options and `prep.yaml` are read into them."""

from dataclasses import dataclass, field
from typing import Literal

from toolkit.errors import UserError
from toolkit.towers import Modality

Layout = Literal["auto", "microlens", "ninerec", "amazon", "morec", "table"]
PairColumns = Literal["auto", "item-user-time", "user-item-time"]
TimeUnit = Literal["ms", "s"]
Backend = Literal["pyav", "decord", "opencv"]
ExecutorName = Literal["processes", "ray"]
Source = Literal["title", "cover"]

MODALITIES: dict[Source, Modality] = {"title": "text", "cover": "image"}


@dataclass(frozen=True)
class MediaConfig:
    """How covers and video frames are stored.

    Args:
        cover_px: shorter side of a stored cover, in pixels; smaller covers stay as they are.
        frame_count: frames taken from a clip, at the midpoints of as many equal segments.
        frame_px: shorter side of a stored frame, in pixels; smaller clips stay as they are.
        backend: what decodes clips.
        clip_seconds: time limit of one clip; beyond it, its process is killed and the item has the
            status `timeout`.
        workers: processes that decode; 0 takes one for each CPU core.
    """

    cover_px: int = 256
    frame_count: int = 5
    frame_px: int = 224
    backend: Backend = "pyav"
    clip_seconds: float = 30.0
    workers: int = 0

    def __post_init__(self) -> None:
        for key, least in {"cover_px": 1, "frame_count": 1, "frame_px": 1, "workers": 0}.items():
            if getattr(self, key) < least:
                raise UserError(f"media.{key} is {getattr(self, key)}; it must be at least {least}")
        if not self.clip_seconds > 0:
            raise UserError(f"media.clip_seconds is {self.clip_seconds}; it must be above 0")


@dataclass(frozen=True)
class EncodeConfig:
    """The frozen encoder of one tower.

    Args:
        encoder: a folder, `package:NAME/FOLDER` for weights inside an installed package, or a hub name.
        source: what the encoder reads: `title` makes it a text encoder, `cover` an image encoder.
        pooling: how the tokens of a layer become one vector.
        layers: which layers to keep besides the embedding output: all, every-N, group-K or a list
            such as [1, 3, 5], counted from 0.
        revision: hub revision to pin.
        max_tokens: titles are cut there.
        lowercase: whether titles are lower-cased first.
        device: auto takes the GPU where there is one; otherwise cpu, cuda, cuda:1, ...
        batch_size: items encoded at a time.
    """

    encoder: str = ""
    source: Source = "title"
    pooling: Literal["cls", "mean", "last"] = "cls"
    layers: str | list[int] = "all"
    revision: str | None = None
    max_tokens: int = 30
    lowercase: bool = True
    device: str = "auto"
    batch_size: int = 128

    def __post_init__(self) -> None:
        for key in ("max_tokens", "batch_size"):
            if getattr(self, key) < 1:
                raise UserError(f"{key} is {getattr(self, key)}; it must be at least 1")

    @property
    def modality(self) -> Modality:
        """`text` or `image`: it follows from the source."""
        return MODALITIES[self.source]


@dataclass(frozen=True)
class PrepConfig:
    """Everything about one dataset.

    Args:
        layout: how the dump is laid out; auto looks at its files, and never takes them for morec, whose
            file names are those of amazon.
        name: of the dataset; by default that of the dump's folder.
        columns: of layout table, what each column is called, such as user=uid,item=asin,time=ts,title=name;
            time and title only where there are any. With layout auto it says that the dump is a table.
        pair_columns: order of the columns of a *_pair.csv (ninerec); auto looks which one holds items.
        time_unit: of timestamps, where the layout leaves it open (ninerec, table): ms or s.
        media: covers and video frames.
        encode: towers by name, each with its encoder: --encode.TOWER.encoder X, --encode.TOWER.source cover, ...
        executor: where steps work: processes of this machine, or ray; the machines of a Ray cluster share the
            file system on which dump, dataset and local encoders lie.
        address: of a running Ray cluster, HOST:PORT or auto; by default one is started on this machine.
        gpus_per_worker: GPUs, or a share of one, that each worker of a Ray cluster has to itself for its own
            encoder; 0 encodes on CPUs, a worker for each machine.
    """

    layout: Layout = "auto"
    name: str | None = None
    columns: str | dict[str, str] = ""
    pair_columns: PairColumns = "auto"
    time_unit: TimeUnit = "ms"
    media: MediaConfig = field(default_factory=MediaConfig)
    encode: dict[str, EncodeConfig] = field(default_factory=dict)
    executor: ExecutorName = "processes"
    address: str | None = None
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        if self.gpus_per_worker < 0:
            raise UserError(f"gpus_per_worker is {self.gpus_per_worker}; it must be at least 0")
        for key in ("address", "gpus_per_worker"):
            if getattr(self, key) and self.executor != "ray":
                raise UserError(
                    f"{key} is {getattr(self, key)}, which is for a Ray cluster; add --executor ray, "
                    f"or leave {key} out"
                )
