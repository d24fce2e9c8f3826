"""Captioner for transformers models in this process.

B requests of a batch, S tokens of the longest prompt, N new tokens, V tokens of the vocabulary.
"""

import copy
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import LogitsProcessor

from prep.captioners.captioner import Answer, CaptionError, Request, Usage
from prep.captioners.inputs import UndecodableError, conversation, decode_batch, video_metadata
from prep.captioners.loading import load_network, load_processor, refuse_other_kinds
from prep.captioners.marks import REASONING, is_mark, opens_reasoning
from toolkit.backbones.pretrained import processor_name
from toolkit.backbones.resolve import commit_of, revision_of
from toolkit.errors import UserError

Precision = Literal["auto", "bfloat16", "float16", "float32"]


class TransformersCaptioner:
    """Any `AutoModelForImageTextToText` with its processor; a `prep.captioners.Captioner`.

    Models with a chat template receive a conversation. Models without one (BLIP, BLIP-2) receive the picture and the
    prompt, which they continue; use the prompt `image-unprompted` for them.

    The constructor reads only the configuration and the processor, which are small. `check` or the first caption
    loads the weights, so reading `revision`, `settings` or `takes_video` needs no weights.

    Args:
        model: a folder, `package:NAME/FOLDER` for weights inside an installed package, or a hub name.
        revision: hub revision to pin.
        batch_size: number of requests per generation batch.
        max_new_tokens: maximum number of tokens per caption.
        temperature: 0 is greedy decoding, so that reruns return the same captions; above 0 samples.
        repetition_penalty: values above 1 make tokens less likely that the caption already contains
            (arXiv 1909.05858); tokens of the prompt are not affected.
        device_map: auto uses the GPU if there is one; otherwise any value of transformers: cpu, cuda:1,
            balanced (spread over all GPUs), ...
        dtype: auto is bfloat16 on a GPU and float32 on a CPU.
        trust_remote_code: runs code from the hub; off by default.

    Raises:
        UserError: if the model cannot be found, or does not caption images.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        batch_size: int = 8,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        repetition_penalty: float = 1.0,
        device_map: str = "auto",
        dtype: Precision = "auto",
        trust_remote_code: bool = False,
    ) -> None:
        if device_map == "auto":
            device_map = "cuda" if torch.cuda.is_available() else "cpu"
        if dtype == "auto":
            dtype = "float32" if device_map == "cpu" else "bfloat16"
        options = {"revision": revision, "trust_remote_code": trust_remote_code}
        self.model = model
        self.batch_size = batch_size
        self.usage = Usage()
        refuse_other_kinds(model, options)
        self._processor = load_processor(model, options)
        # A copy, because a tokenizer cannot decode while another thread encodes with it ("Already borrowed").
        self._decoder = copy.deepcopy(self._processor.tokenizer)
        commit = commit_of(model, revision)
        self.revision = revision_of(model, commit)
        self.processor = processor_name(self._processor.image_processor)
        # Use the commit, because a branch on the hub may change before the weights are loaded.
        self._network_options = {
            **options,
            "revision": commit or revision,
            "device_map": device_map,
            "dtype": dtype,
        }
        self.chats = getattr(self._processor, "chat_template", None) is not None
        self.takes_video = self.chats and hasattr(self._processor, "video_processor")
        self._repetition_penalty = repetition_penalty
        self._generation = _generation(max_new_tokens, temperature)
        self.settings: dict[str, str | int | float | bool] = {
            "captioner": "transformers",
            "max_new_tokens": max_new_tokens,
            "temperature": float(temperature),
            "repetition_penalty": float(repetition_penalty),
            "dtype": dtype,
        }

    def check(self) -> None:
        """Loads the weights, if they are not loaded yet.

        Raises:
            UserError: if weights are missing or unreadable.
        """
        _ = self._network

    @cached_property
    def _network(self) -> Any:
        return load_network(self.model, self._network_options)

    def captions(self, requests: Sequence[Request]) -> Generator[dict[int, str], None, None]:
        """Yields the captions of each batch after its generation; see `Captioner.captions`.

        Raises:
            CaptionError: with the request whose frames cannot be decoded, or the batch that failed.
            UserError: if a request has a video and the model does not accept video, or the weights cannot be loaded.
        """
        if not self.takes_video and any(request.payload.is_video for request in requests):
            raise UserError(
                f"model {self.model!r} accepts images but no video; use a model that accepts video"
            )
        self.check()
        batches = self._batches(requests)
        with closing(self._inputs_ahead(requests, batches)) as inputs:
            for rows in batches:
                try:
                    texts = self._generate(next(inputs))
                    texts = [
                        self._reopened(requests[row], text)
                        for row, text in zip(rows, texts, strict=True)
                    ]
                except UndecodableError as error:
                    raise CaptionError([rows[error.row]], error.reason) from error
                except Exception as error:  # any error of a model is reported for its batch
                    raise CaptionError(rows, f"{type(error).__name__}: {error}") from error
                yield dict(zip(rows, texts, strict=True))

    def _batches(self, requests: Sequence[Request]) -> list[list[int]]:
        """Groups requests into batches with equal numbers of frames and, without a chat template, equal prompts.

        BLIP overwrites the first token and drops the last one, so its prompts cannot be padded.
        """
        alike: dict[tuple[Any, ...], list[int]] = {}
        for row, (payload, prompt) in enumerate(requests):
            key = (payload.is_video, len(payload.frames), None if self.chats else prompt)
            alike.setdefault(key, []).append(row)
        return [
            rows[start : start + self.batch_size]
            for rows in alike.values()
            for start in range(0, len(rows), self.batch_size)
        ]

    def _inputs_ahead(
        self, requests: Sequence[Request], batches: list[list[int]]
    ) -> Generator[dict[str, Any], None, None]:
        """Yields the inputs of each batch, and prefetches those of the next batch in a thread."""
        waiting: list[Future[dict[str, Any]]] = []
        ahead = ThreadPoolExecutor(max_workers=1, thread_name_prefix="caption")
        try:
            for number in range(len(batches)):
                for rows in batches[number + len(waiting) : number + 2]:
                    waiting.append(ahead.submit(self._prepare, [requests[row] for row in rows]))
                started = time.perf_counter()
                inputs = waiting.pop(0).result()
                self.usage.idle_seconds += time.perf_counter() - started
                yield inputs
        finally:
            ahead.shutdown(cancel_futures=True)

    def _prepare(self, requests: list[Request]) -> dict[str, Any]:
        """Token ids (B, S), left-padded, attention mask and pixels, on the CPU."""
        pixels = decode_batch(requests)
        texts = [self._text(request) for request in requests]
        shown: dict[str, Any] = {"images": [[frames[0]] for frames in pixels]}
        if not self.chats:
            shown = {"images": [frames[0] for frames in pixels]}
        elif requests[0].payload.is_video:
            metadata = [[video_metadata(request.payload)] for request in requests]
            shown = {"videos": [[torch.stack([torch.from_numpy(f) for f in v])] for v in pixels]}
            shown |= {"video_metadata": metadata, "do_sample_frames": False}
        return dict(self._processor(text=texts, padding=True, return_tensors="pt", **shown))

    def _text(self, request: Request) -> str:
        """The complete prompt of a request, in the model's chat template.

        The model's special tokens (`<image>`) are removed from a title, because they would be read as an image or
        as the end of the conversation.
        """
        prompt = request.prompt
        for token in self._special_tokens():
            prompt = prompt.replace(token, "")
        if not self.chats:
            return prompt
        turn = conversation(prompt, is_video=request.payload.is_video)
        return str(self._processor.apply_chat_template(turn, add_generation_prompt=True))

    def _reopened(self, request: Request, answer: Answer) -> Answer:
        """Prefixes an answer with a reasoning mark if the chat template opened the reasoning in the prompt."""
        if not (self.chats and opens_reasoning(self._text(request))):
            return answer
        return Answer(REASONING + answer, answer.ended)

    def _special_tokens(self) -> list[str]:
        own = (getattr(self._processor, name, None) for name in ("image_token", "video_token"))
        return [str(token) for token in (*own, *self._decoder.all_special_tokens) if token]

    @torch.inference_mode()
    def _generate(self, inputs: dict[str, Any]) -> list[Answer]:
        """The captions of a batch: (B, S) token ids and pixels -> B texts of the (B, N) new tokens."""
        started = time.perf_counter()
        new = NewTokens(self._repetition_penalty)
        output = self._network.generate(
            **{name: self._on_device(name, value) for name, value in inputs.items()},
            logits_processor=[new],
            **self._generation,
        )
        tokens = output[:, new.prompt_length :].cpu()
        self.usage.busy_seconds += time.perf_counter() - started
        self.usage.captions += len(tokens)
        self.usage.tokens += int((tokens != self._decoder.pad_token_id).sum())
        most = int(self._generation["max_new_tokens"])
        return [
            Answer(
                self._decoded(row), "cut" if len(row) >= most and self._goes_on(row) else "whole"
            )
            for row in tokens.tolist()
        ]

    def _decoded(self, tokens: list[int]) -> str:
        """The text of new tokens, without special tokens except those that mark the beginning of the answer."""
        if self._marks:
            hidden = set(self._decoder.all_special_ids) - self._marks
            tokens = [token for token in tokens if token not in hidden]
        return str(self._decoder.decode(tokens, skip_special_tokens=not self._marks))

    @cached_property
    def _marks(self) -> set[int]:
        """Ids of special tokens that mark reasoning."""
        special = zip(self._decoder.all_special_ids, self._decoder.all_special_tokens, strict=True)
        return {int(id_) for id_, token in special if is_mark(str(token))}

    def _goes_on(self, tokens: list[int]) -> bool:
        """Whether the new tokens contain no end token."""
        return self._stops.isdisjoint(tokens)

    @cached_property
    def _stops(self) -> set[int]:
        """Ids of end tokens, whose location in the configuration differs between architectures."""
        named = [self._network.generation_config.eos_token_id]
        for config in (self._network.config, getattr(self._network.config, "text_config", None)):
            named += [getattr(config, name, None) for name in ("eos_token_id", "sep_token_id")]
        named += [self._decoder.eos_token_id, self._decoder.pad_token_id]
        stops: set[int] = set()
        for ids in named:
            stops |= set(ids) if isinstance(ids, (list, tuple)) else {ids} - {None}
        return stops

    def _on_device(self, name: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        pixels = name.startswith("pixel_values")
        return value.to(self._network.device, self._network.dtype if pixels else None)


def _generation(max_new_tokens: int, temperature: float) -> dict[str, Any]:
    """Options of `generate` that override the defaults of the model."""
    options: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "do_sample": False,
        "num_beams": 1,
        "repetition_penalty": 1.0,  # `NewTokens` applies the penalty
    }
    if temperature > 0:  # sampling without top-k and top-p
        options |= {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    return options


class NewTokens(LogitsProcessor):
    """Finds the end of the prompt in the output of `generate`, and penalises repetitions among the new tokens.

    Models differ in the prompt tokens that they return: all, a changed version, or none. The first call receives
    exactly the tokens that will precede the first new token.

    Args:
        penalty: positive logits of previous tokens are divided by it, negative logits multiplied
            (arXiv 1909.05858, equation 2). Only new tokens count: with the prompt, padding would count too,
            and a caption would depend on its batch.
    """

    def __init__(self, penalty: float) -> None:
        self.penalty = penalty
        self.prompt_length: int | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits (B, V) after the tokens `input_ids` (B, S + N so far)."""
        if self.prompt_length is None:
            self.prompt_length = input_ids.shape[1]
        new = input_ids[:, self.prompt_length :]
        if self.penalty == 1.0 or not new.shape[1]:
            return scores
        logits = scores.gather(1, new)
        penalised = torch.where(logits < 0, logits * self.penalty, logits / self.penalty)
        return scores.scatter(1, new, penalised)
