"""Captioning models: the protocol `Captioner`, and `load_captioner`, which creates the configured captioner."""

from prep.captioners.captioner import Captioner, CaptionError, Payload, Request, Usage
from prep.captioners.postprocess import Finished, finish
from prep.captioners.prompts import Prompt, built_in_prompts, load_prompt
from prep.config import CaptionConfig
from toolkit.errors import UserError

__all__ = [
    "CaptionError",
    "Captioner",
    "Finished",
    "Payload",
    "Prompt",
    "Request",
    "Usage",
    "built_in_prompts",
    "finish",
    "load_captioner",
    "load_prompt",
    "suited",
]


def load_captioner(config: CaptionConfig) -> Captioner:
    """Creates the configured captioner without loading weights or contacting a server (see `Captioner.check`).

    Raises:
        UserError: if the model is not available, or its source is frames and it does not accept video.
    """
    if not config.model:
        raise UserError("no model is configured; set model to a folder or a name")
    return suited(_server(config) if config.captioner == "openai" else _local(config), config)


def suited(captioner: Captioner, config: CaptionConfig) -> Captioner:
    """Returns the captioner if it accepts the source.

    Raises:
        UserError: if the source is frames and the captioner does not accept video.
    """
    if config.source == "frames" and not captioner.takes_video:
        raise UserError(
            f"model {captioner.model!r} accepts images but no video, and the source is frames; "
            "use a model that accepts video, or source cover"
        )
    return captioner


def _local(config: CaptionConfig) -> Captioner:
    from prep.captioners.local import TransformersCaptioner  # here: torch takes seconds to import

    return TransformersCaptioner(
        config.model,
        revision=config.revision,
        batch_size=config.batch_size,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        repetition_penalty=config.repetition_penalty,
        device_map=config.device_map,
        dtype=config.dtype,
        trust_remote_code=config.trust_remote_code,
    )


def _server(config: CaptionConfig) -> Captioner:
    from prep.captioners.openai import OpenAICaptioner

    return OpenAICaptioner(
        config.model,
        url=config.url,
        revision=config.revision,
        key_variable=config.key_variable,
        concurrency=config.concurrency,
        timeout_seconds=config.timeout_seconds,
        attempts=config.attempts,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        repetition_penalty=config.repetition_penalty,
    )
