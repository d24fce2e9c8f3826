"""Post-processing of captions: pure functions, and `finish`, which applies all of them.

Nothing is translated, lower-cased or converted to ASCII. "The image shows a dog" is kept too, because such a sentence
is the caption itself. Only phrases about the answer ("Sure, here is a description:") are removed.
"""

import re
import unicodedata
from typing import Literal, NamedTuple

from prep.captioners.answers import flatten_answer, read_answer
from prep.captioners.captioner import ended
from prep.captioners.marks import strip_half_token, strip_marks
from prep.captioners.refusals import is_refusal
from toolkit.graphemes import whole_end

Flaw = Literal["empty", "repeats", "not_json", "reasoning", "refused", "cut"]

CUT = "cut by max_new_tokens"  # beginning of the message for each answer that the token limit cut

LOOP_TIMES = 4  # number of consecutive repetitions that count as a loop
LOOP_COLUMNS = 24  # minimum total width of a loop; a Chinese character has two columns
SENTENCE_COLUMNS = 6  # minimum width of a sentence, unlike "Mr." and "1."
_SHOWN_CHARACTERS = 100  # of a refusal

_PREAMBLE = re.compile(
    r"""(?:
        (?:sure|certainly|of\ course|absolutely|okay|ok|great)(?:\ thing)?(?:[!,.:]|(?=\ here\b))\s*
      | (?:i(?:'|’)d\ be\ happy\ to|i\ can\ help|let\ me)\b[^.!:\n]*[.!:]\s*
      | here(?:\ is|(?:'|’)s|\ are)\b[^.!:\n]{0,60}
        \b(?:captions?|description|summary|answer|response|json|what)\b[^.!:\n]{0,60}:\s*
      | (?:caption|description|answer|assistant|output)\s*:\s*
      | (?:好的|当然(?:可以)?|没问题)[，,。！!：:]\s*
      | (?:(?:以下|下面|这)是)?[^。！：:\n]{0,30}(?:描述|说明|回答)[：:]\s*
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_FENCE = re.compile(r"```[a-z]*\n?(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_LINE_MARK = re.compile(r"^[ \t]*(?:#{1,6}|[-*•]|\d{1,2}[.)])[ \t]+", re.MULTILINE)
_STRONG = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1", re.DOTALL)
_QUOTES = {
    '"': '"',
    "'": "'",
    "“": "”",
    "‘": "’",
    "«": "»",
    "「": "」",
    "『": "』",
    "*": "*",
    "`": "`",
}
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？…]+[”’」』）]*")
_CLAUSE_END = re.compile(r"[，、；：,;:](?=\D|$)")
_LOOP = re.compile(rf"(.{{1,120}}?)\1{{{LOOP_TIMES - 1},}}", re.DOTALL)


class Finished(NamedTuple):
    """A post-processed caption.

    Args:
        text: text on one line; empty if the answer is empty.
        flaw: why the caption is unusable: `empty`; `repeats`, a loop; `not_json`, JSON was requested but the
            answer does not match the schema; `reasoning`, the answer ended before the caption; `refused`;
            `cut` within its first sentence. None for a usable caption.
        message: details of the flaw. Without a flaw: that the caption was cut and now ends with a complete sentence
            or clause (`CUT`), or empty.
    """

    text: str
    flaw: Flaw | None = None
    message: str = ""


def finish(raw: str, *, max_characters: int, answer: Literal["text", "json"] = "text") -> Finished:
    """Post-processes an answer for storage.

    Args:
        raw: answer of the captioner; an `Answer` also states how it ended.
        max_characters: longer texts are cut (`cut`).
        answer: form of the answer that the prompt requests.
    """
    unmarked, is_cut = strip_marks(raw), ended(raw) == "cut"
    if unmarked.reasoning or ended(raw) == "reasoning":
        why = (
            "the model's reasoning did not end, so there is no caption; raise max_new_tokens, or turn the "
            "reasoning off"
        )
        return Finished("", "reasoning", f"{CUT}: {why}" if is_cut else why)
    text = strip_half_token(unmarked.text) if is_cut else unmarked.text
    flawed = _flawed(text, is_refused=ended(raw) == "refused")
    if flawed:
        flaw, message = flawed
        message = f"{CUT}: {message}" if is_cut else message
        return Finished(cut(tidy(text), max_characters), flaw, message)
    if answer == "json":
        try:
            text = flatten_answer(read_answer(text))
        except ValueError as error:
            message = f"{CUT}: {error}" if is_cut else str(error)
            return Finished(cut(tidy(text), max_characters), "not_json", message)
        is_cut = False  # the object is complete
    text = tidy(text)
    if is_cut:
        return _shortened(text, max_characters)
    text = cut(text, max_characters)
    return Finished(text) if text else Finished("", "empty", "no text remains after cleaning")


def _flawed(text: str, *, is_refused: bool) -> tuple[Flaw, str] | None:
    """The flaw and message of an answer of any form, or None."""
    if is_refused or is_refusal(strip_preamble(strip_wrapping(text))):
        quoted = collapse_whitespace(text)[:_SHOWN_CHARACTERS]
        return "refused", f"the model refused: {quoted!r}" if quoted else "refused without a reason"
    if not strip_wrapping(text):
        return "empty", "the answer is empty"
    loop = find_loop(collapse_whitespace(text))
    if loop:
        return "repeats", f"the model repeats itself: {loop[:40]!r}"
    return None


def _shortened(text: str, max_characters: int) -> Finished:
    """A caption that the token limit cut, shortened to complete sentences or clauses."""
    whole = whole_part(text)
    if not whole:
        return Finished(
            cut(text, max_characters),
            "cut",
            f"{CUT} within its first sentence; raise max_new_tokens",
        )
    return Finished(cut(whole, max_characters), None, f"{CUT} after this sentence or clause")


def whole_part(text: str) -> str:
    """The complete sentences of a truncated text; else its clauses if they are half of it; else an empty text.

    >>> whole_part("A red lamp. It stands on a wooden ta")
    'A red lamp.'
    >>> whole_part("A red lamp on a table, a cat"), whole_part("A red lamp stands on a wooden ta")
    ('A red lamp on a table', '')
    """
    sentences = [text[:end] for end in _ends(_SENTENCE_END, text)]
    if sentences and _columns(sentences[-1]) >= SENTENCE_COLUMNS:
        return sentences[-1]
    clauses = [end for end in _ends(_CLAUSE_END, text) if end >= len(text) / 2]
    return text[: clauses[-1]].rstrip(" ,;:，、；：") if clauses else ""


def tidy(text: str) -> str:
    """The caption on one line, without preamble, wrapping and superfluous whitespace."""
    return collapse_whitespace(strip_wrapping(strip_preamble(strip_wrapping(text))))


def strip_preamble(text: str) -> str:
    """Removes phrases about the answer from its beginning.

    >>> strip_preamble("Sure! Here is a short description of the image: A dog runs.")
    'A dog runs.'
    """
    while match := _PREAMBLE.match(text):
        if match.end() == len(text):  # a caption may consist of such a word
            break
        text = text[match.end() :]
    return text


def strip_wrapping(text: str) -> str:
    """Removes Markdown (fences, headings, bullets, bold) and quotes around the whole text.

    >>> strip_wrapping('"**A dog** runs."')
    'A dog runs.'
    """
    text = _FENCE.sub(r"\1", text.strip())
    text = _STRONG.sub(r"\2", _LINE_MARK.sub("", text)).strip()
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and not _closes_early(text):
        text = text[1:-1].strip()
    return text


def _closes_early(text: str) -> bool:
    """Whether the first quote is closed before the end, as in: "Stop" says the sign on the "door"."""
    return _QUOTES[text[0]] in text[1:-1]


def collapse_whitespace(text: str) -> str:
    """Replaces each run of whitespace and control characters by one space, and strips the ends.

    Half a surrogate pair (from half an emoji), which UTF-8 cannot encode, becomes U+FFFD.
    """
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split())


def cut(text: str, max_characters: int) -> str:
    """Cuts a text to at most `max_characters`, at the end of a sentence, or else of a clause or word.

    The cut keeps at least half of the limit: at the last end of a sentence if possible, then of a clause or word.
    Text without spaces (Chinese, Japanese, Thai) is cut between characters if necessary, but never within a grapheme
    (an emoji of several code points, a letter and its accent).
    """
    if len(text) <= max_characters:
        return text
    head = text[:max_characters]
    for ends in (_ends(_SENTENCE_END, text), _word_ends(text)):
        fitting = [end for end in ends if max_characters / 2 <= end <= max_characters]
        if fitting:
            return head[: whole_end(text, fitting[-1])].rstrip(" ,;:，、；：")
    return head[: whole_end(text, max_characters)].rstrip()


def _ends(pattern: re.Pattern[str], text: str) -> list[int]:
    return [match.end() for match in pattern.finditer(text)]


def _word_ends(text: str) -> list[int]:
    spaces = [match.start() for match in re.finditer(r"\s", text)]
    return sorted(spaces + _ends(_CLAUSE_END, text))


def find_loop(text: str) -> str | None:
    """The phrase that a text repeats in a row (`LOOP_TIMES`, `LOOP_COLUMNS`), or None.

    >>> find_loop("A red circle moves. " * 5)
    'A red circle moves. '
    >>> find_loop("very, very, very good") is None
    True
    """
    for match in _LOOP.finditer(text):
        if _columns(match[0]) >= LOOP_COLUMNS and any(c.isalnum() for c in match[1]):
            return match[1]
    return None


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
