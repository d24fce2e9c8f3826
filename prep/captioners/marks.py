"""Marks of chat templates in an answer: reasoning goes, boxes are opened, tokens are left out.

Servers and tokenizers leave them in the text when they do not know them. What is no mark stays: `<3`, `a < b`,
`<b>`, and the word "think".
"""

import re
from typing import NamedTuple

_THINKING = (
    "think|thinking|thought|thoughts|reasoning|reason|analysis|reflection|scratchpad|seed:think"
)
_ANSWER = "answer|final_answer|solution|box"
REASONING = "<think>"  # stands for whatever opened the reasoning in a prompt
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
# gpt-oss writes to channels, of which `final` alone is for the user. A tokenizer that leaves special tokens out
# leaves "analysis… assistantfinal…".
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>")
_BARE_CHANNELS = re.compile(r"\s*(?:assistant)?(?:analysis|commentary).*assistantfinal", re.DOTALL)
_HEADER = re.compile(
    r"(?:<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|<\|start\|>|<\|turn>)"
    r"\s*(?:assistant|model|user|system)?\s*(?:<\|end_header_id\|>|<\|message\|>)?"
    r"|<\|(?:assistant|user|system|bot|model)\|>",
    re.IGNORECASE,
)
# Where a turn ends; what follows is the next one's.
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
_HALF_TOKEN = re.compile(r"<\|?/?\|?[\w.:]*\|?\Z")  # that the limit of tokens cut


class Unmarked(NamedTuple):
    """An answer without marks.

    Args:
        text: what is for the reader; empty where the reasoning never ended.
        reasoning: whether there is none because it never ended.
    """

    text: str
    reasoning: bool = False


def strip_marks(text: str) -> Unmarked:
    """What an answer says once its marks are gone.

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
    said = _without_reasoning(_BARE_CHANNELS.sub("", text))
    if said is None:
        return Unmarked("", reasoning=True)
    text = _first_turn(_HEADER.sub(" ", said))
    return Unmarked(_TOKEN.sub(" ", _without_box(text)).strip())


def opens_reasoning(prompt: str) -> bool:
    """Whether a chat template's prompt ends within reasoning, so that the answer has the closing mark alone."""
    last = [match.end() for match in _OPEN.finditer(prompt)][-1:]
    return bool(last) and not prompt[last[0] :].strip()


def is_mark(token: str) -> bool:
    """Whether a tokenizer's special token says where an answer begins, so that it must not be left out."""
    return any(pattern.fullmatch(token) for pattern in (_OPEN, _CLOSE)) or token in (
        "<|channel|>",
        "<|message|>",
    )


def _without_reasoning(text: str) -> str | None:
    """The last part of a text that is no reasoning; None if the reasoning never ends, or nothing else is there.

    Where the template opens the reasoning, the text before the first closing mark is part of it.
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
    return next((part for part in reversed(parts) if _says_something(part)), None)


def _says_something(text: str) -> bool:
    return bool(_TOKEN.sub("", _END.sub("", _HEADER.sub("", text))).strip())


def _first_turn(text: str) -> str:
    """The text up to the first end of a turn that has anything before it."""
    start = 0
    for end in _ends(text):
        if text[start : end.start()].strip():
            return text[start : end.start()]
        start = end.end()
    return text[start:]


def _ends(text: str) -> list[re.Match[str]]:
    """Ends of turns. `<s>` and `</s>` are marks unless they are HTML that strikes words out."""
    struck_out = re.search(r"\S.*<s>.+</s>", text, re.DOTALL)
    marks = _END.pattern if struck_out else rf"{_END.pattern}|</?s>"
    return list(re.finditer(marks, text, re.IGNORECASE))


def _without_box(text: str) -> str:
    """The last answer that stands in a box, else the text."""
    boxes = [box for box in _BOX.finditer(text) if box[1].strip()]
    if boxes:
        return boxes[-1][1]
    end = _BOX_END.search(text)
    if end and text[: end.start()].strip():
        text = text[: end.start()]
    wrapped = _WRAPPED.fullmatch(text)
    return wrapped[2] if wrapped else text


def strip_half_token(text: str) -> str:
    """A text that was cut, without the beginning of a mark at its end."""
    return _HALF_TOKEN.sub("", text)
