"""The settings of prep, as typed dataclasses. The command line and `prep.yaml` fill them.

`users_word` marks settings that a `prep.yaml` or `dataset.json` from elsewhere may not set (`prep.trust`).
"""

from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from prep.trust import leaves, users_word
from toolkit.arguments import refuse_below
from toolkit.backbones import EncoderSpec
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

_OWN_CODE = "it runs Python code that comes with the model"


@dataclass(frozen=True)
class MediaConfig:
    """How covers and video frames are stored.

    Args:
        cover_px: shorter side of a stored cover, in pixels; smaller covers are not enlarged.
        sampling: which frames are stored. uniform takes the frames at the midpoints of frame_count equal parts.
            near takes frames within 0.1 s of these midpoints and is faster. keyframes takes the nearest keyframes
            and is fastest; it repeats frames if a clip has few keyframes. middle takes consecutive frames around
            the middle, as the MicroLens paper does.
        frame_count: number of frames per clip.
        frame_interval: for sampling middle: 1 takes consecutive frames, 5 every fifth frame.
        frame_px: shorter side of a stored frame, in pixels; smaller clips are not enlarged.
        backend: library that decodes clips. pyav uses about 0.65 of the CPU time of each other backend for the
            same frames (benchmarks/decode.py), and only with pyav is near faster than uniform. opencv and decord
            are installed too; torchcodec needs `pip install versa-toolkit[torchcodec]` and FFmpeg's libraries.
        clip_seconds: time limit per clip. After it, the decoding process is killed and the item gets the status
            `timeout`.
        workers: number of decoding processes; 0 starts one per CPU core.
        frames_from: videos, or the released frames of a dump; auto uses videos if the dump has any.
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
        least = dict.fromkeys(("cover_px", "frame_count", "frame_interval", "frame_px"), 1)
        refuse_below({**least, "workers": 0}, vars(self), lead="media.")
        if self.frame_interval > 1 and self.sampling != "middle":
            raise UserError(
                f"media.frame_interval is {self.frame_interval} and media.sampling is {self.sampling}: an interval "
                "above 1 needs media.sampling middle; change one of the two"
            )
        if not self.clip_seconds > 0:
            raise UserError(f"media.clip_seconds is {self.clip_seconds}; it must be above 0")


@dataclass(frozen=True)
class EncodeConfig(EncoderSpec):
    """The frozen encoder of a tower, how it runs and how its states are stored.

    Args:
        trust_remote_code: runs code that comes with the encoder; off unless you say so.
        device: auto takes the GPU where there is one; otherwise cpu, cuda, cuda:1, ...
        batch_size: images encoded at a time; every frame of a clip is an image.
        batch_tokens: tokens of texts encoded at a time, padding counted; texts of similar length go together. By
            default 8192 on a GPU, 1024 for each thread on a CPU.
        workers: number of threads that decode and resize images ahead of the encoder; 0 starts one per CPU core.
        device_map: instead of device, for a model that one GPU cannot hold: auto, balanced, sequential.
        store: precision to store states in; a tower whose states do not fit float16 is stored in bfloat16, which
            has the same size, less precision and float32's range.
        tokens: also store the states of all tokens after this many layers, for training the layers above them alone
            (--encoders.TOWER.from_layer stored): 10 of 12 layers for --adapt top-2. They take much space.
    """

    trust_remote_code: bool = users_word(False, why=_OWN_CODE)
    device: str = "auto"
    batch_size: int = 128
    batch_tokens: int | None = None
    workers: int = 0
    device_map: str | None = None
    store: StatesDtype = "float16"
    tokens: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        least = dict.fromkeys(("batch_size", "batch_tokens", "tokens"), 1)
        refuse_below({**least, "workers": 0}, vars(self))
        if self.device_map and self.device != "auto":
            raise UserError(
                f"device is {self.device} and device_map is {self.device_map}; set one or the other"
            )


@dataclass(frozen=True)
class FeaturesConfig:
    """A tower that is imported from a file of features, one vector per item, instead of encoded.

    Args:
        file: .npy (one row per item), .json (vectors by item id), .parquet (one row per item, ids in item_id) or
            .feat1CLS, .feat3CLS, ... of UniSRec and MISSRec (with NAME.item2index beside the file).
        source: content field from which the features were computed; mixed means several fields.
        ids: for a .npy or .feat1CLS file: a text file with the item id of each row. Without it, row r of a .npy file is
            item r + 1, which requires item ids 1, 2, ..., N.
        column: for a .parquet file: the column that holds the vectors.
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
    """The model that captions one source, its prompt and its generation settings; or a file of ready captions.

    Args:
        source: content field to caption: cover, or frames for the frames of a video, which requires a model
            that accepts video.
        captioner: transformers runs the model in this process; openai sends requests to a server with OpenAI's
            chat completions API (vLLM, SGLang, TGI, `transformers serve`).
        model: a folder, `package:NAME/FOLDER` for weights inside an installed package, or a hub name; for
            openai, the model's name on the server.
        revision: hub revision to pin; for openai, the revision to record for the server's model.
        prompt: name of a built-in prompt (image-plain, video-rec, ...; NAME@VERSION for an older version) or path
            of a text file, which may contain {title}. Default: image-plain or video-plain, depending on the source.
        max_new_tokens: maximum number of tokens per caption.
        max_characters: longer captions are cut to this length, at the end of a sentence or word.
        temperature: 0 is greedy decoding, so that reruns return the same captions; above 0 samples.
        repetition_penalty: values above 1 make tokens less likely that the caption already contains; 1.05 is mild.
        batch_size: for transformers: number of items per generation batch.
        device_map: for transformers: auto uses the GPU if there is one; otherwise cpu, cuda:1, or
            balanced, which spreads the model over all GPUs.
        dtype: for transformers: auto is bfloat16 on a GPU and float32 on a CPU.
        trust_remote_code: for transformers: runs code from the hub; off by default.
        url: for openai: URL of the server up to the version, such as http://localhost:8000/v1.
        key_variable: for openai: environment variable that holds the API key; no key is sent if it is not set.
        concurrency: for openai: number of requests in flight.
        timeout_seconds: for openai: time limit for the complete answer to a request.
        attempts: for openai: maximum number of attempts per request.
        file: instead of a model: a .csv or .parquet file of captions that were generated elsewhere, with the columns
            item_id and text, and optionally model, revision, prompt_hash, status and message.
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
    file: str = users_word("", leaves)

    def __post_init__(self) -> None:
        counts = ("max_new_tokens", "max_characters", "batch_size", "concurrency", "attempts")
        refuse_below({**dict.fromkeys(counts, 1), "temperature": 0}, vars(self))
        for key in ("repetition_penalty", "timeout_seconds"):
            if not getattr(self, key) > 0:
                raise UserError(f"{key} is {getattr(self, key)}; it must be above 0")
        if self.file and self.model:
            raise UserError(
                f"file is {self.file} and model is {self.model}: captions come from one of them; omit the other"
            )

    @property
    def prompt_name(self) -> str:
        """The name of the prompt: the configured prompt, or the plain prompt for the source."""
        return self.prompt or ("image-plain" if self.source == "cover" else "video-plain")


@dataclass(frozen=True)
class PrepConfig:
    """All settings of one dataset.

    Args:
        layout: file layout of the dump; auto detects it from the files. The files of morec and amazon have the
            same names. If their items file has two columns, both layouts read it alike and auto chooses amazon.
        name: name of the dataset; by default the name of the dump's folder.
        columns: for layout table: the name of each column, such as user=uid,item=asin,time=ts,title=name; omit
            time and title if the table lacks them. With layout auto, this option selects layout table. For layout
            recbole: columns whose names differ from RecBole's user_id, item_id and timestamp, and title=NAME.
        pair_columns: column order of a `*_pair.csv` (ninerec); auto detects which column holds the items.
        time_unit: unit of the timestamps for layouts without a fixed unit (ninerec, recbole, table): ms, s, us or
            ns. For recbole, numbers below 1e11 are read as seconds unless the unit is us or ns.
        k_core: minimum number of interactions per user and per item, repeats included. Users and items with
            fewer are removed until nothing changes. 0 keeps all.
        ties: order of a user's interactions that have the same time or no time. file: the order of the rows in
            the file. hash: a hash of user and item, so that no information leaks from the file's order (for
            example if the file is sorted by item id).
        duplicates: keep or drop interactions that repeat the user, item and time of an earlier interaction.
        memory_gib: memory limit for sorting the interactions, in GiB; the rest is spilled to disk. The whole
            process needs one to two GiB more.
        media: settings of covers and video frames.
        caption: captions by name, with a model for each: --caption.image_caption.model X, ..., or a file of ready
            captions: --caption.face_caption.file X; towers refer to captions by this name.
        caption_cache: folder of the caption cache, shared by all datasets: requests that it has answers for are
            not sent again. Default: $VERSA_CACHE, or versa in the user's cache folder.
        encode: towers by name, with an encoder for each: --encode.TOWER.encoder X, --encode.TOWER.source cover, ...
        features: towers by name, with a file of precomputed features for each: --features.TOWER.file X, ...
        executor: processes runs steps on this machine; ray runs them on a Ray cluster, whose machines must share
            the file system that holds the dump, the dataset and local encoders.
        address: address of a running Ray cluster: HOST:PORT or auto. By default, prep starts Ray on this machine.
        gpus_per_worker: number of GPUs, or a fraction of one, per Ray worker for its own encoder or captioner;
            0 uses CPUs and one worker per machine.
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
        refuse_below({"k_core": 0, "gpus_per_worker": 0, "memory_gib": 0.25}, vars(self))
        for key in ("address", "gpus_per_worker"):
            if getattr(self, key) and self.executor != "ray":
                raise UserError(
                    f"{key} is {getattr(self, key)}, which requires a Ray cluster: add --executor ray, "
                    f"or omit {key}"
                )
