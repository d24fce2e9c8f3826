"""What happens to a caption between the model and the table: pure functions, and `finish` that applies them all.

The language stays as it is: nothing is translated, lower-cased or made ASCII. "The image shows a dog" stays
too: such a sentence is the caption itself, and without its beginning it would be another one. Only what talks
about the answer ("Sure, here is a description:") goes.
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

CUT = "cut by max_new_tokens"  # with this begins what is said of each answer that the limit of tokens cut

LOOP_TIMES = 4  # a phrase said so often in a row is a loop,
LOOP_COLUMNS = 24  # if all of it is as wide as this; a Chinese character counts two columns
SENTENCE_COLUMNS = 6  # what is no wider is no sentence: "Mr.", "1."
_TOLD_CHARACTERS = 100  # of a refusal

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
    """A caption as it is stored.

    Args:
        text: of one line; empty if the model said nothing.
        flaw: what makes it unfit: `empty`; `repeats`, it goes round in a loop; `not_json`, it was to be
            JSON and is not what the schema says; `reasoning`, it ended before there was a caption; `refused`;
            `cut`, within its first sentence. None if nothing does.
        message: what exactly; without a flaw, that it was cut and now ends with a whole sentence or clause
            (`CUT`), else empty.
    """

    text: str
    flaw: Flaw | None = None
    message: str = ""


def finish(raw: str, *, max_characters: int, answer: Literal["text", "json"] = "text") -> Finished:
    """What to store of a model's words.

    Args:
        raw: as the captioner gave it; an `Answer` also tells how it ended.
        max_characters: a longer text is cut (`cut`).
        answer: what the prompt asked for.
    """
    unmarked, is_cut = strip_marks(raw), ended(raw) == "cut"
    if unmarked.reasoning or ended(raw) == "reasoning":
        why = "the model's reasoning did not end, so there is no caption; raise max_new_tokens, or turn it off"
        return Finished("", "reasoning", f"{CUT}: {why}" if is_cut else why)
    said = strip_half_token(unmarked.text) if is_cut else unmarked.text
    flawed = _flawed(said, is_refused=ended(raw) == "refused")
    if flawed:
        flaw, message = flawed
        message = f"{CUT}: {message}" if is_cut else message
        return Finished(cut(tidy(said), max_characters), flaw, message)
    if answer == "json":
        try:
            said = flatten_answer(read_answer(said))
        except ValueError as error:
            message = f"{CUT}: {error}" if is_cut else str(error)
            return Finished(cut(tidy(said), max_characters), "not_json", message)
        is_cut = False  # the object is whole
    text = tidy(said)
    if is_cut:
        return _shortened(text, max_characters)
    text = cut(text, max_characters)
    return Finished(text) if text else Finished("", "empty", "nothing is left of what it said")


def _flawed(said: str, *, is_refused: bool) -> tuple[Flaw, str] | None:
    """What is wrong with words, whatever they were to be."""
    if is_refused or is_refusal(strip_preamble(strip_wrapping(said))):
        words = collapse_whitespace(said)[:_TOLD_CHARACTERS]
        return "refused", f"the model refused: {words!r}" if words else "refused without a word"
    if not strip_wrapping(said):
        return "empty", "the model said nothing"
    loop = find_loop(collapse_whitespace(said))
    if loop:
        return "repeats", f"the model repeats itself: {loop[:40]!r}"
    return None


def _shortened(text: str, max_characters: int) -> Finished:
    """A caption that the limit of tokens cut: as far as it goes in whole sentences or clauses."""
    whole = whole_part(text)
    if not whole:
        return Finished(
            cut(text, max_characters), "cut", f"{CUT} within its first sentence; raise it"
        )
    return Finished(cut(whole, max_characters), None, f"{CUT} after this sentence or clause")


def whole_part(text: str) -> str:
    """The whole sentences of a text that breaks off, else its clauses if they are half of it, else nothing.

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
    """The caption alone, on one line: preambles, wrapping and superfluous whitespace are gone."""
    return collapse_whitespace(strip_wrapping(strip_preamble(strip_wrapping(text))))


def strip_preamble(text: str) -> str:
    """Leaves out what the model says about its answer before it gives it.

    >>> strip_preamble("Sure! Here is a short description of the image: A dog runs.")
    'A dog runs.'
    """
    while match := _PREAMBLE.match(text):
        if match.end() == len(text):  # a caption of one such word is one
            break
        text = text[match.end() :]
    return text


def strip_wrapping(text: str) -> str:
    """Leaves out Markdown (fences, headings, bullets, bold) and quotes around the whole text.

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
    """One space for each run of whitespace and control characters, none at the ends.

    What no UTF-8 can hold (half of a surrogate pair, from a model's half emoji) becomes U+FFFD.
    """
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split())


def cut(text: str, max_characters: int) -> str:
    """At most so many characters, ending with a sentence, else with a clause or word.

    A sentence's end is taken if it leaves at least half of the limit, then a word's or clause's. Text without
    spaces (Chinese, Japanese, Thai) is cut between characters if need be, never within one that the eye sees
    as one (an emoji of several code points, a letter and its accent).
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
