"""Parses chat completions: the model's text and how the answer ended."""

from typing import Any

from prep.captioners.captioner import Answer, Ended
from prep.captioners.http import FailedAttempt, printable

_CUT = ("length", "max_tokens", "model_length", "max_output_tokens")
_REFUSED = ("content_filter", "refusal", "safety", "sensitive", "blocked")
_FAILED = ("error", "abort", "engine_overloaded")  # server failures: another attempt may succeed
_REASONING = ("reasoning_content", "reasoning", "thinking")
_SHOWN_CHARACTERS = 300  # of an error message


def read_completion(completion: dict[str, Any]) -> Answer:
    """The text of a completion's first choice, which may be empty, and how it ended.

    Raises:
        FailedAttempt: if the completion is an error, or contains nothing that could be a caption.
    """
    choice, message = _first(completion)
    finish = choice.get("finish_reason")
    content, refusal = _text(message.get("content")), _refusal(message)
    if refusal or finish in _REFUSED:
        return Answer(refusal or content or "", "refused")
    if finish in _FAILED:
        raise FailedAttempt(f"an answer that ended with {printable(str(finish))!r}")
    if content:
        return Answer(content, "cut" if finish in _CUT else "whole")
    if message.get("tool_calls") or message.get("function_call"):
        raise FailedAttempt("a call of a tool instead of a caption", fixed=True)
    if any(message.get(name) for name in _REASONING):
        return Answer("", "reasoning")
    if content is None and finish is None:
        raise FailedAttempt(
            f"an answer whose content is {type(message.get('content')).__name__}, not text"
        )
    empty: Ended = "cut" if finish in _CUT else "whole"
    return Answer("", empty)


def _first(completion: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first choice and its message."""
    choices = completion.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict) or choice.get("error"):
        refuse_error(completion if choice is None else {**completion, **_mapping(choice)})
        raise FailedAttempt("an answer without a choice that has a message")
    message = choice.get("message")
    if not isinstance(message, dict):
        raise FailedAttempt("an answer without a choice that has a message")
    return choice, message


def refuse_error(completion: dict[str, Any]) -> None:
    """Refuses an answer of status 200 whose content is an error.

    Raises:
        FailedAttempt: if it is an error; with the error's code if that is an HTTP status.
    """
    error = completion.get("error") or (completion if completion.get("object") == "error" else None)
    if not error and completion.get("detail"):
        error = completion["detail"]
    if not error:
        return
    details = _mapping(error)
    message = printable(str(details.get("message") or error))[:_SHOWN_CHARACTERS]
    code = details.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else None
    fixed = status is None and details.get("type") == "invalid_request_error"
    raise FailedAttempt(f"an error in its answer, {message}", status, fixed=fixed)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _refusal(message: dict[str, Any]) -> str:
    """The text of a refusal, from its own field or from parts of the content."""
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal.strip():
        return refusal
    parts = message.get("content")
    texts = [_mapping(part).get("refusal") for part in parts] if isinstance(parts, list) else []
    return " ".join(text for text in texts if isinstance(text, str))


def _text(content: Any) -> str | None:
    """The text of a content, which is a string or a list of parts; None if it is neither."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [part if isinstance(part, str) else _mapping(part).get("text") for part in content]
    return "".join(part for part in parts if isinstance(part, str))
