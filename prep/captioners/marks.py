"""Removes marks of chat templates from an answer: reasoning, answer boxes and special tokens.

Servers and tokenizers leave unknown marks in the text. Other text is kept: `<3`, `a < b`, `<b>`, and the word
"think".
"""

import re
from typing import NamedTuple

_THINKING = (
    "think|thinking|thought|thoughts|reasoning|reason|analysis|reflection|scratchpad|seed:think"
)
_ANSWER = "answer|final_answer|solution|box"
REASONING = "<think>"  # replaces the mark that opened the reasoning in a prompt
_OPEN = re.compile(
    rf"<\s*(?:{_THINKING})\s*>|<\|(?:{_THINKING})\|>|<\|(?:begin_of|start)_(?:{_THINKING})\|>"
    rf"|◁(?:{_THINKING})▷|\[(?-i:THINK|THINKING|REASONING)\]",
    re.IGNORECASE,
)
_CLOSE = re.compile(
    rf"<\s*/\s*(?:{_THINKING})\s*>|<\|/(?:{_THINKING})\|>|<\|end_of_(?:{_THINKING})\|>"
    rf"|<\|end_(?:{_THINKING})\|>|◁/(?:{_THINKING})▷|\[/(?-i:THINK|THINKING|REASONING)\]",
    re.IGNORECASE,
)
# gpt-oss writes to channels, of which only `final` is for the user. A tokenizer that skips special tokens returns
# "analysis… assistantfinal…".
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>")
_BARE_CHANNELS = re.compile(r"\s*(?:assistant)?(?:analysis|commentary).*assistantfinal", re.DOTALL)
_HEADER = re.compile(
    r"(?:<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|<\|start\|>|<\|turn>)"
    r"\s*(?:assistant|model|user|system)?\s*(?:<\|end_header_id\|>|<\|message\|>)?"
    r"|<\|(?:assistant|user|system|bot|model)\|>",
    re.IGNORECASE,
)
# End of a turn; the text after it belongs to the next turn.
_END = re.compile(
    r"<\|(?:im_end|endoftext|end_of_text|eot_id|eom_id|end|return|eos|end_of_turn|endofturn|end_of_sentence|call)\|>"
    r"|<(?:end_of_turn|eos|end_of_utterance|turn\|)>|<｜[^｜\n]{1,40}｜>|\[/?INST\]",
    re.IGNORECASE,
)
_BOX = re.compile(
    rf"(?:<(?:{_ANSWER})>|<\|begin_of_(?:{_ANSWER})\|>|<\|start_(?:response|answer)\|>)(.*?)"
    rf"(?:</(?:{_ANSWER})>|<\|end_of_(?:{_ANSWER})\|>|<\|end_(?:response|answer)\|>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_BOX_END = re.compile(rf"</(?:{_ANSWER})>|<\|end_of_(?:{_ANSWER})\|>", re.IGNORECASE)
_WRAPPED = re.compile(
    r"\s*<(caption|description|response|output|final|summary)>(.*)</\1>\s*",
    re.DOTALL | re.IGNORECASE,
)
_TOKEN = re.compile(
    r"<\|[\w.:/ -]{1,40}\|?>|<(?:image|video|pad|bos|unk|fake_token_around_image|start_of_image|end_of_image)>"
)
_HALF_TOKEN = re.compile(r"<\|?/?\|?[\w.:]*\|?\Z")  # cut by the token limit


class Unmarked(NamedTuple):
    """An answer without marks.

    Args:
        text: text for the reader; empty if the reasoning did not end.
        reasoning: whether the text is empty because the reasoning did not end.
    """

    text: str
    reasoning: bool = False


def strip_marks(text: str) -> Unmarked:
    """Removes all marks from an answer.

    >>> strip_marks("<think>A red thing.</think><answer>A lamp.</answer><|im_end|>")
    Unmarked(text='A lamp.', reasoning=False)
    >>> strip_marks("I love it <3, said the <b>sign</b>: 1 < 2")
    Unmarked(text='I love it <3, said the <b>sign</b>: 1 < 2', reasoning=False)
    """
    channels = list(_CHANNEL.finditer(text))
    if channels:
        final = [channel for channel in channels if channel[1].lower() == "final"]
        if not final:
            return Unmarked("", reasoning=True)
        text = text[final[-1].end() :]
    answer = _without_reasoning(_BARE_CHANNELS.sub("", text))
    if answer is None:
        return Unmarked("", reasoning=True)
    text = _first_turn(_HEADER.sub(" ", answer))
    return Unmarked(_TOKEN.sub(" ", _without_box(text)).strip())


def opens_reasoning(prompt: str) -> bool:
    """Whether a chat template's prompt opens the reasoning, so that the answer has only the closing mark."""
    last = [match.end() for match in _OPEN.finditer(prompt)][-1:]
    return bool(last) and not prompt[last[0] :].strip()


def is_mark(token: str) -> bool:
    """Whether a special token marks the beginning of an answer, so that it must be kept in the text."""
    return any(pattern.fullmatch(token) for pattern in (_OPEN, _CLOSE)) or token in (
        "<|channel|>",
        "<|message|>",
    )


def _without_reasoning(text: str) -> str | None:
    """The last part of a text outside the reasoning; None if the reasoning does not end, or there is no other text.

    If the template opens the reasoning, the text before the first closing mark belongs to it.
    """
    marks = [(mark, True) for mark in _OPEN.finditer(text)]
    marks += [(mark, False) for mark in _CLOSE.finditer(text)]
    if not marks:
        return text
    parts, start, thinks = [], 0, False
    for mark, opens in sorted(marks, key=lambda entry: entry[0].start()):
        if opens and not thinks:
            parts.append(text[start : mark.start()])
        elif not opens and not thinks:
            parts.clear()
        thinks, start = opens, mark.end()
    if thinks:
        return None
    parts.append(text[start:])
    return next((part for part in reversed(parts) if _has_text(part)), None)


def _has_text(text: str) -> bool:
    return bool(_TOKEN.sub("", _END.sub("", _HEADER.sub("", text))).strip())


def _first_turn(text: str) -> str:
    """The text up to the first end of a turn, ignoring empty turns."""
    start = 0
    for end in _ends(text):
        if text[start : end.start()].strip():
            return text[start : end.start()]
        start = end.end()
    return text[start:]


def _ends(text: str) -> list[re.Match[str]]:
    """Ends of turns. `<s>` and `</s>` count unless they are HTML for struck-out text."""
    struck_out = re.search(r"\S.*<s>.+</s>", text, re.DOTALL)
    marks = _END.pattern if struck_out else rf"{_END.pattern}|</?s>"
    return list(re.finditer(marks, text, re.IGNORECASE))


def _without_box(text: str) -> str:
    """The last answer in a box, or else the text."""
    boxes = [box for box in _BOX.finditer(text) if box[1].strip()]
    if boxes:
        return boxes[-1][1]
    end = _BOX_END.search(text)
    if end and text[: end.start()].strip():
        text = text[: end.start()]
    wrapped = _WRAPPED.fullmatch(text)
    return wrapped[2] if wrapped else text


def strip_half_token(text: str) -> str:
    """Removes a partial mark at the end of a text that was cut."""
    return _HALF_TOKEN.sub("", text)
