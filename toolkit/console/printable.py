"""Foreign text in messages: a file name, a setting or a server's answer must not act on the reader's terminal."""


def printable(text: str, *, characters: int | None = None) -> str:
    r"""Text in which every character that a terminal obeys, or that ends a line, is written as its escape.

    Args:
        text: any.
        characters: how many to keep, the rest being replaced by "…"; all by default.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    >>> printable("a long text", characters=6)
    'a long…'
    """
    cut = text if characters is None or len(text) <= characters else f"{text[:characters]}…"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)
