"""The last step: hidden states of every item, for each configured tower.

A frozen encoder computes them here, or they are imported from a file of features (`prep.towers.imported`).
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prep.captioners.captioning import STEP_OF
from prep.config import EncodeConfig, PrepConfig
from prep.executors import choose
from prep.steps import manifest
from prep.steps.pipeline import Step, run_step
from prep.steps.writing import clear_table, writing
from prep.towers.encoding import BeyondFloat16Error, Encoding, load
from prep.towers.imported import import_tower
from prep.towers.rows import SHARD
from prep.towers.tokens import SHARD as TOKENS_SHARD
from prep.towers.tokens import TokenEncoding, refuse_no_room
from toolkit import schema
from toolkit.errors import UserError
from toolkit.ids import is_safe
from toolkit.prefetch import MUCH, Waiting
from toolkit.schema import StatesDtype, settings_of
from toolkit.sources import captions_behind, refuse_unknown
from toolkit.store import Table, tables_in
from toolkit.towers import PICTURES
from toolkit.versions import versions
from toolkit.workers import cpu_count

if TYPE_CHECKING:
    from toolkit.backbones import Encoder

MakeStep = Callable[[dict[str, Any]], Step]  # of the configuration of the rows that exist


def encode(
    dataset: str | Path, config: PrepConfig | None = None, *, retry_failed: bool = False
) -> None:
    """Writes `states/TOWER/` for every tower of the configuration, one row per item, and `tokens/TOWER/` where asked.

    Items without a source have zero states and a row in `errors/`.

    Args:
        dataset: what `ingest` and `media` wrote.
        config: `encode`, `features` and where to work are read here; by default what `dataset.json`
            recorded last.
        retry_failed: whether items that are not ok are done again.

    Raises:
        UserError: if a tower or its encoder cannot be had, or existing states were made with another.
    """
    dataset = Path(dataset)
    before = manifest.require_interactions(dataset)["config"]
    config = config or manifest.recorded_config(dataset, "encode", "features", "address")
    if not config.encode and not config.features:
        print("encode: no tower is configured; give one, e.g. --encode.title.encoder NAME_OR_PATH")
    refuse_incomplete(config, dataset)
    for settings in config.encode.values():
        Encoding(dataset.absolute(), settings).refuse_absent_source()
    refuse_other_clips(config, dataset)
    for tower in config.encode:
        with writing(dataset, f"encode:{tower}"):
            _encode_tower(dataset, tower, config, retry_failed=retry_failed)
    for tower, features in config.features.items():
        import_tower(dataset, tower, features, retry_failed=retry_failed)
    towers = asdict(config)
    manifest.record_config(dataset, before, encode=towers["encode"], features=towers["features"])


def refuse_incomplete(config: PrepConfig, dataset: Path) -> None:
    """Refuses towers that lack something, before anything runs.

    Args:
        config: `caption`, `encode` and `features` are read here.
        dataset: whose stored captions are known sources, too.

    Raises:
        UserError: naming the tower and what it lacks.
    """
    for tower in [*config.encode, *config.features]:
        if not is_safe(tower):
            raise UserError(
                f"tower name {tower!r} cannot name a folder; use letters, digits, - and _"
            )
        if tower in config.encode and tower in config.features:
            raise UserError(f"tower {tower!r} stands under encode and under features; rename one")
    captions = sorted({*config.caption, *tables_in(dataset / "captions")})
    for tower, settings in config.encode.items():
        if not settings.encoder:
            raise UserError(
                f"tower {tower!r} has no encoder; give one with --encode.{tower}.encoder NAME_OR_PATH"
            )
        try:
            refuse_unknown(settings.source, captions)
        except UserError as error:
            raise UserError(f"tower {tower!r}: {error}") from None
    for tower, features in config.features.items():
        if not features.file:
            raise UserError(
                f"tower {tower!r} has no file; give one with --features.{tower}.file PATH"
            )


def refuse_other_clips(config: PrepConfig, dataset: Path) -> None:
    """Refuses video encoders that would not get what they read, before anything runs.

    Args:
        config: `encode` is read here, and `media` where the dataset has no frames yet.
        dataset: whose frames are read.

    Raises:
        UserError: naming the tower and how many frames its encoder reads, or an encoder that cannot be had.
    """
    stored = _frames_stored(config, dataset)
    for tower, settings in config.encode.items():
        if settings.source in PICTURES:
            _refuse_other_clips(tower, settings, stored)


def _refuse_other_clips(tower: str, settings: EncodeConfig, stored: int) -> None:
    from toolkit.backbones import frames_needed  # here, as in `load`

    needed = frames_needed(
        settings.encoder,
        revision=settings.revision,
        trust_remote_code=settings.trust_remote_code,
        frame_count=settings.frame_count,
    )
    if needed is None:
        return
    who = f"tower {tower!r}: encoder {settings.encoder!r} reads clips of {needed} frames"
    if settings.source != "frames":
        raise UserError(
            f"{who}, and its source is {settings.source}; set --encode.{tower}.source frames"
        )
    if stored < needed:
        raise UserError(
            f"{who}, and the dataset's media.frame_count is {stored}; "
            f"write it with --media.frame_count {needed}, or choose an encoder or --encode.{tower}.frame_count of at most "
            f"{stored}"
        )


def _frames_stored(config: PrepConfig, dataset: Path) -> int:
    """How many frames of each clip the dataset holds, or will hold."""
    steps = (manifest.read(dataset) or {}).get("steps", {})
    done: dict[str, int] = steps.get("frames", {}).get("config", {})
    return done.get("frame_count", config.media.frame_count)


def _encode_tower(dataset: Path, tower: str, config: PrepConfig, *, retry_failed: bool) -> None:
    settings = config.encode[tower]
    encoding = Encoding(dataset.absolute(), _placed(settings, config), settings.store)
    shape = _shape_of(encoding, config)
    items = encoding.data.items.select(["item_id", "item"])
    described = asdict(replace(settings, max_tokens=settings.token_limit))
    for key in (
        "frame_count",
        "crop_px",
    ):  # recorded where they are set, as earlier versions had neither
        if described[key] is None:
            del described[key]
    layer = described.pop("tokens")  # pooled states do not depend on it
    del described["workers"]  # no states depend on it

    def run(work: Encoding | TokenEncoding, folder: str, make: MakeStep, **record: Any) -> None:
        table = Table(dataset / folder / tower)
        work.dtype = _dtype_of(table) or settings.store
        step, execute = make(_recorded(table)), choose(config, model=True)
        waiting = _watch_waiting(encoding, config)
        try:
            counts = run_step(dataset, step, items, execute=execute, retry_failed=retry_failed)
        except BeyondFloat16Error as error:  # one table is of one dtype: all of it is written again
            print(f"{step.name}: {error}, so the table is written afresh")
            clear_table(table.folder)
            work.dtype = "bfloat16"
            step = make({})
            counts = run_step(dataset, step, items, execute=execute)
        if waiting.used_seconds:
            print(f"{step.name}: {_describe_waiting(waiting, tower, settings)}")
        manifest.record_step(
            dataset,
            step.name,
            {**described, **record},
            revision=step.config["revision"],
            encoder_parameters=shape.parameter_count,
            processor=shape.processor,
            versions=versions("torch", "transformers"),
            items=counts,
        )

    tokens = None if layer is None else TokenEncoding(encoding, layer, settings.store)
    if (
        tokens is not None
    ):  # refuses a layer that training could not begin at, before anything is encoded
        tokens_step(tower, tokens, encoder=shape)
    run(
        encoding,
        "states",
        lambda recorded: encode_step(tower, encoding, encoder=shape, recorded=recorded),
    )
    if tokens is None:
        return
    with writing(dataset, f"tokens:{tower}"):
        refuse_no_room(dataset, tower, tokens, items, encoder=shape)
        run(
            tokens,
            "tokens",
            lambda recorded: tokens_step(tower, tokens, encoder=shape, recorded=recorded),
            tokens=layer,
        )


def _watch_waiting(encoding: Encoding, config: PrepConfig) -> Waiting[Any]:
    """The time in which the encoder waits from now on; empty if it runs in the workers of a cluster."""
    waiting = Waiting[Any]()
    if config.executor == "processes":
        encoding.frozen.waiting = waiting
    return waiting


def _describe_waiting(waiting: Waiting[Any], tower: str, settings: EncodeConfig) -> str:
    text = f"the encoder waited {waiting.share:.0%} of the time for its inputs"
    if waiting.share < MUCH or settings.source not in PICTURES:
        return text
    if 0 < settings.workers < cpu_count():
        return f"{text}; more threads would decode faster: --encode.{tower}.workers 0 starts one per CPU core"
    return f"{text}, which all CPU cores of this machine decode"


def _dtype_of(table: Table) -> StatesDtype | None:
    """What the states that exist are stored in."""
    return schema.states_dtype(table.schema(), where=str(table.folder)) if table.exists() else None


def _recorded(table: Table) -> dict[str, Any]:
    """The configuration that existing states were made with; empty where there are none."""
    return settings_of(table.schema(), where=str(table.folder)) if table.exists() else {}


def _placed(settings: EncodeConfig, config: PrepConfig) -> EncodeConfig:
    """Settles in which precision the workers of a cluster compute, before they start: states depend on it."""
    if config.executor == "processes":
        return settings
    device, dtype = settings.device, settings.dtype
    if device == "auto" and not config.gpus_per_worker and settings.device_map is None:
        device = "cpu"
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else "saved"
    return replace(settings, device=device, dtype=dtype)


def _shape_of(work: "Encoding", config: PrepConfig) -> "Encoder":
    """The encoder that decides the table's layout: the one that works, if it works in this process.

    Otherwise a copy on the CPU, since the GPUs are the workers'.
    """
    if config.executor == "processes":
        return work.frozen.encoder
    copy = load(replace(work.config, device="cpu", device_map=None, quantize="none")).encoder
    copy.spec = work.config  # the workers' weights are quantised as it says
    return copy


def encode_step(
    tower: str, work: Encoding, *, encoder: "Encoder", recorded: dict[str, Any] | None = None
) -> Step:
    """The step that writes `states/TOWER/`.

    Args:
        tower: its name.
        work: what it does.
        encoder: the encoder that `work` uses, or a copy of it.
        recorded: the configuration of the rows that exist, which new rows must have.
    """
    config, recorded = work.config, recorded or {}
    revision = _revision(tower, encoder, recorded)
    metadata = {**encoder.states_metadata(), "revision": revision, "dtype": work.dtype}
    depends = {**encoder.states_settings(), "revision": revision, "store": config.store}
    if recorded and "processor" not in recorded:  # states of an older Versa do not record it
        del depends["processor"]
    _add_inputs(work, depends, metadata)
    columns = schema.states(encoder.layers, encoder.width, work.dtype).with_metadata(metadata)
    return Step(f"encode:{tower}", f"states/{tower}", columns, depends, work, SHARD)


def tokens_step(
    tower: str, work: TokenEncoding, *, encoder: "Encoder", recorded: dict[str, Any] | None = None
) -> Step:
    """The step that writes `tokens/TOWER/`; see `encode_step`.

    Raises:
        UserError: if the encoder cannot run from that layer, so that the states would be of no use.
    """
    from toolkit.backbones.upper import tokens_metadata, tokens_settings  # here, as in `load`

    revision = _revision(tower, encoder, recorded or {})
    metadata = {**tokens_metadata(encoder, work.layer), "revision": revision, "dtype": work.dtype}
    depends = {**tokens_settings(encoder, work.layer), "revision": revision}
    depends["store"] = work.encoding.config.store
    _add_inputs(work.encoding, depends, metadata)
    columns = schema.tokens(work.dtype).with_metadata(metadata)
    return Step(f"tokens:{tower}", f"tokens/{tower}", columns, depends, work, TOKENS_SHARD)


def _add_inputs(work: Encoding, depends: dict[str, Any], metadata: dict[str, str]) -> None:
    """Adds the settings of the pictures and captions that an encoder reads."""
    source = work.config.source
    if source in PICTURES:
        depends |= work.data.manifest["steps"].get(STEP_OF[source], {}).get("config", {})
    if captions := captions_behind(work.data, source):
        depends["captions"] = metadata["captions"] = captions


def _revision(tower: str, encoder: "Encoder", recorded: dict[str, Any]) -> str:
    """The encoder's revision, in the form in which existing rows record it."""
    then = str(recorded.get("revision", ""))
    now = encoder.revision_as(then)
    if now == then != encoder.revision:
        print(
            f"encode:{tower}: its states were recorded by an older Versa that hashed only parts of the encoder's "
            "files; these are the same, and whether the others are cannot be told: to be sure, delete "
            f"states/{tower} and run prep encode again"
        )
    return now
