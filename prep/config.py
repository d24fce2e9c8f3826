"""What a user can set, as typed dataclasses; the commands' options and `prep.yaml` are read into them.

`users_word` marks what a `prep.yaml` or `dataset.json` that comes with data may not decide (`prep.trust`).
"""

from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from prep.trust import leaves, users_word
from toolkit.errors import UserError
from toolkit.schema import StatesDtype
from toolkit.towers import Modality, modality_of

Layout = Literal["auto", "microlens", "challenge", "ninerec", "morec", "amazon", "recbole", "table"]
PairColumns = Literal["auto", "item-user-time", "user-item-time"]
TimeUnit = Literal["ms", "s", "us", "ns"]
Ties = Literal["file", "hash"]
Duplicates = Literal["keep", "drop"]
Backend = Literal["pyav", "decord", "opencv", "torchcodec"]
Sampling = Literal["middle", "uniform", "near", "keyframes"]
ExecutorName = Literal["processes", "ray"]
FeatureSource = Literal["title", "cover", "frames", "mixed"]

_OWN_CODE = "it comes with Python code of its own, which is not run unasked"
TITLE_TOKENS = 30  # as in the papers
TEXT_TOKENS = 128  # of longer texts: captions, and what is joined


@dataclass(frozen=True)
class MediaConfig:
    """How covers and video frames are stored.

    Args:
        cover_px: shorter side of a stored cover, in pixels; smaller covers stay as they are.
        sampling: which frames: uniform takes those at the midpoints of frame_count equal parts; near does so
            within 0.1 s, cheaper; keyframes takes the keyframes nearest to them, cheapest, some of them twice
            where there are few; middle takes consecutive frames around the middle, as the MicroLens paper does.
        frame_count: frames taken from a clip.
        frame_interval: of sampling middle: 1 takes consecutive frames, 5 every fifth.
        frame_px: shorter side of a stored frame, in pixels; smaller clips stay as they are.
        backend: what decodes clips. pyav takes about 0.65 of the CPU time of each of the others for the same
            frames (benchmarks/decode.py), and it alone makes near cheaper; opencv and decord come along too;
            torchcodec needs `pip install versa-toolkit[torchcodec]` and FFmpeg's libraries.
        clip_seconds: time limit of one clip; beyond it, its process is killed and the item has the
            status `timeout`.
        workers: processes that decode; 0 takes one for each CPU core.
        frames_from: videos, or the released frames of a dump; auto takes videos where there are any.
    """

    cover_px: int = 256
    sampling: Sampling = "uniform"
    frame_count: int = 5
    frame_interval: int = 1
    frame_px: int = 224
    backend: Backend = "pyav"
    clip_seconds: float = 30.0
    workers: int = 0
    frames_from: Literal["auto", "videos", "released"] = "auto"

    def __post_init__(self) -> None:
        for key in ("cover_px", "frame_count", "frame_interval", "frame_px", "workers"):
            least = 0 if key == "workers" else 1
            if getattr(self, key) < least:
                raise UserError(f"media.{key} is {getattr(self, key)}; it must be at least {least}")
        if self.frame_interval > 1 and self.sampling != "middle":
            raise UserError(
                f"media.frame_interval is {self.frame_interval}, and media.sampling {self.sampling}; only "
                "sampling middle takes every so-many-th frame: set one or the other"
            )
        if not self.clip_seconds > 0:
            raise UserError(f"media.clip_seconds is {self.clip_seconds}; it must be above 0")


@dataclass(frozen=True)
class EncodeConfig:
    """The frozen encoder of one tower.

    Args:
        encoder: a folder, `package:NAME/FOLDER` for weights inside an installed package, or a hub name;
            open_clip: before a folder or hub name takes that side of open_clip's model which reads the source.
        source: what the encoder reads. Text: title, the name of captions, or concat:title+image_caption, which
            joins texts. Images: cover, or frames, whose states are averaged over a clip, unless the encoder is
            one of video (VideoMAE, ...): it reads as many frames of a clip at once as its configuration says.
        pooling: how the tokens of a layer become one vector: cls for BERT, ViT and the like; mean or last for
            decoder-only encoders (LLaMA, ...), whose first token sees nothing of a text; mean for encoders of
            pictures without a [CLS] token (SigLIP, Swin, ResNet, VideoMAE, ...).
        layers: which layers to keep besides the embedding output: all, every-N, group-K or a list
            such as [1, 3, 5], counted from 0.
        revision: hub revision to pin.
        max_tokens: texts are cut there; by default 30 for titles (the papers), 128 for other texts.
        lowercase: whether texts are lower-cased first.
        device: auto takes the GPU where there is one; otherwise cpu, cuda, cuda:1, ...
        batch_size: images encoded at a time; every frame of a clip is one.
        batch_tokens: tokens of texts encoded at a time, padding counted; texts about as long go together. By
            default 8192 on a GPU, 1024 for each thread on a CPU.
        device_map: instead of device, for a model that one GPU cannot hold: auto, balanced, sequential.
        dtype: precision to compute in. auto is float32 on a CPU and saved on a GPU; saved is what the encoder's
            weights were saved in (float32 for BERT, bfloat16 for most LLMs). States depend on it.
        store: precision to store states in; a tower whose states do not fit float16 is stored in bfloat16, which
            has the same size, less precision and float32's range.
        quantize: 8bit or 4bit loads the weights so; it needs `pip install bitsandbytes`.
        trust_remote_code: runs code that comes with the encoder; off unless you say so.
    """

    encoder: str = ""
    source: str = "title"
    pooling: Literal["cls", "mean", "last"] = "cls"
    layers: str | list[int] = "all"
    revision: str | None = None
    max_tokens: int | None = None
    lowercase: bool = True
    device: str = "auto"
    batch_size: int = 128
    batch_tokens: int | None = None
    device_map: str | None = None
    dtype: Literal["auto", "saved", "float32", "bfloat16", "float16"] = "auto"
    store: StatesDtype = "float16"
    quantize: Literal["none", "8bit", "4bit"] = "none"
    trust_remote_code: bool = users_word(False, why=_OWN_CODE)

    def __post_init__(self) -> None:
        for key in ("max_tokens", "batch_size", "batch_tokens"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise UserError(f"{key} is {value}; it must be at least 1")
        if self.device_map and self.device != "auto":
            raise UserError(
                f"device is {self.device} and device_map is {self.device_map}; set one or the other"
            )

    @property
    def modality(self) -> Modality:
        """`text` or `image`: it follows from the source."""
        return modality_of(self.source)

    @property
    def token_limit(self) -> int:
        """Where texts are cut: `max_tokens`, or what goes without saying for the source."""
        return self.max_tokens or (TITLE_TOKENS if self.source == "title" else TEXT_TOKENS)


@dataclass(frozen=True)
class FeaturesConfig:
    """A tower that is imported from a file of features, a vector an item, instead of encoded.

    Args:
        file: .npy (a row an item), .json (vectors by item id) or .parquet (a row an item, ids in item_id).
        source: what the features were made of; mixed is several things at once.
        ids: of a .npy, a text file with the item id of each row; without it, row r is item r + 1, which
            only fits items that are 1, 2, ..., N.
        column: of a .parquet, the one that holds the vectors.
    """

    file: str = users_word("", leaves)
    source: FeatureSource = "title"
    ids: str | None = users_word(None, leaves)
    column: str | None = None

    @property
    def modality(self) -> Modality:
        """`text` or `image`: it follows from the source."""
        return "image" if self.source == "mixed" else modality_of(self.source)


def _is_file_elsewhere(prompt: Any, folder: Path) -> bool:
    """Whether a prompt is neither the name of a built-in prompt nor a file inside the folder.

    The names are those of the files, because `prep.captioners` imports this module.
    """
    built_in = (files("prep") / "captioners" / "prompts").iterdir()
    names = {file.name.partition(".")[0] for file in built_in}
    return str(prompt).partition("@")[0] not in names and leaves(prompt, folder)


@dataclass(frozen=True)
class CaptionConfig:
    """The model that captions one source, and what it is asked.

    Args:
        source: what is captioned: cover, or the frames of a video, for which the model must take video.
        captioner: transformers runs the model in this process; openai asks a server that speaks OpenAI's
            chat completions (vLLM, SGLang, TGI, `transformers serve`).
        model: a folder, `package:NAME/FOLDER` for weights inside an installed package, or a hub name; of
            openai, its name on the server.
        revision: hub revision to pin; of openai, what is recorded as the server's.
        prompt: a built-in one (image-plain, video-rec, ...; NAME@VERSION for an older version) or the path of
            a text file, which may hold {title}; by default image-plain or video-plain, as the source is.
        max_new_tokens: a caption ends there.
        max_characters: a longer caption is cut there, at the end of a sentence or word.
        temperature: 0 takes the likeliest token each time, so that a rerun says the same; above, it is drawn.
        repetition_penalty: above 1, what the caption already says becomes less likely; 1.05 is mild.
        batch_size: of transformers: items generated for at a time.
        device_map: of transformers: auto takes the GPU where there is one; otherwise cpu, cuda:1, or
            balanced, which spreads the model over all GPUs.
        dtype: of transformers: auto is bfloat16 on a GPU and float32 on a CPU.
        trust_remote_code: of transformers: runs code from the hub; off unless you say so.
        url: of openai: the server's, up to the version, such as http://localhost:8000/v1.
        key_variable: of openai: the environment variable that holds the key; none is sent where it is not set.
        concurrency: of openai: requests in flight at a time.
        timeout_seconds: of openai: within which a whole answer must have come, until a request is given up.
        attempts: of openai: how often a request is made until it has failed.
    """

    source: Literal["cover", "frames"] = "cover"
    captioner: Literal["transformers", "openai"] = users_word("transformers")
    model: str = ""
    revision: str | None = None
    prompt: str = users_word("", _is_file_elsewhere)
    max_new_tokens: int = 128
    max_characters: int = 1000
    temperature: float = 0.0
    repetition_penalty: float = 1.0
    batch_size: int = 8
    device_map: str = "auto"
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    trust_remote_code: bool = users_word(False, why=_OWN_CODE)
    url: str = users_word("http://localhost:8000/v1")
    key_variable: str = users_word("OPENAI_API_KEY")
    concurrency: int = 8
    timeout_seconds: float = 120.0
    attempts: int = 5

    def __post_init__(self) -> None:
        for key in ("max_new_tokens", "max_characters", "batch_size", "concurrency", "attempts"):
            if getattr(self, key) < 1:
                raise UserError(f"{key} is {getattr(self, key)}; it must be at least 1")
        for key in ("repetition_penalty", "timeout_seconds"):
            if not getattr(self, key) > 0:
                raise UserError(f"{key} is {getattr(self, key)}; it must be above 0")
        if not self.temperature >= 0:
            raise UserError(f"temperature is {self.temperature}; it must be at least 0")

    @property
    def prompt_name(self) -> str:
        """The prompt that is asked: the configured one, or the plain one for the source."""
        return self.prompt or ("image-plain" if self.source == "cover" else "video-plain")


@dataclass(frozen=True)
class PrepConfig:
    """Everything about one dataset.

    Args:
        layout: how the dump is laid out; auto looks at its files. Those of morec and amazon have the same
            names; where their items have two columns, which read the same either way, auto says amazon.
        name: of the dataset; by default that of the dump's folder.
        columns: of layout table, what each column is called, such as user=uid,item=asin,time=ts,title=name;
            time and title only where there are any. With layout auto it says that the dump is a table. Of layout
            recbole, those that are called otherwise than RecBole's user_id, item_id and timestamp, or title=NAME.
        pair_columns: order of the columns of a `*_pair.csv` (ninerec); auto looks which one holds items.
        time_unit: of timestamps, where the layout leaves it open (ninerec, recbole, table): ms, s, us or ns; of
            recbole, numbers below 1e11 are seconds unless it says us or ns.
        k_core: how many interactions every user and every item must have among those kept (repeats
            counted); those with fewer are left out until nothing changes. 0 keeps all.
        ties: what orders a user's interactions of equal times, or all of them where there are no times: file, the
            rows of the file; hash, the hash of user and item, so that the file's order (which may be that of item
            ids) teaches nothing.
        duplicates: of interactions with the user, item and time of an earlier one: keep or drop them.
        memory_gib: what sorting the interactions may hold in memory, in GiB; the rest goes to disk for the
            time being. The whole process holds one to two GiB more.
        media: covers and video frames.
        caption: captions by name, each with its model: --caption.image_caption.model X, ...; towers read them
            by that name.
        caption_cache: folder of the captions that models have given so far, which all datasets share: what
            was asked before is not asked again. By default $VERSA_CACHE, or versa in the user's cache folder.
        encode: towers by name, each with its encoder: --encode.TOWER.encoder X, --encode.TOWER.source cover, ...
        features: towers by name, each with its file of ready features: --features.TOWER.file X, ...
        executor: where steps work: processes of this machine, or ray; the machines of a Ray cluster share the
            file system on which dump, dataset and local encoders lie.
        address: of a running Ray cluster, HOST:PORT or auto; by default one is started on this machine.
        gpus_per_worker: GPUs, or a share of one, that each worker of a Ray cluster has to itself for its own
            encoder or captioner; 0 works on CPUs, a worker for each machine.
    """

    layout: Layout = "auto"
    name: str | None = None
    columns: str | dict[str, str] = ""
    pair_columns: PairColumns = "auto"
    time_unit: TimeUnit = "ms"
    k_core: int = 0
    ties: Ties = "file"
    duplicates: Duplicates = "keep"
    memory_gib: float = 1.0
    media: MediaConfig = field(default_factory=MediaConfig)
    caption: dict[str, CaptionConfig] = field(default_factory=dict)
    caption_cache: str | None = users_word(None)
    encode: dict[str, EncodeConfig] = field(default_factory=dict)
    features: dict[str, FeaturesConfig] = field(default_factory=dict)
    executor: ExecutorName = "processes"
    address: str | None = users_word(None)
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        for key, least in {"k_core": 0, "gpus_per_worker": 0, "memory_gib": 0.25}.items():
            if not getattr(self, key) >= least:
                raise UserError(f"{key} is {getattr(self, key)}; it must be at least {least}")
        for key in ("address", "gpus_per_worker"):
            if getattr(self, key) and self.executor != "ray":
                raise UserError(
                    f"{key} is {getattr(self, key)}, which is for a Ray cluster; add --executor ray, "
                    f"or leave {key} out"
                )
