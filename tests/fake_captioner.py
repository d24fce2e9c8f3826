"""A captioner without a model or a server. A test sets its answers, and it records its requests."""

from collections.abc import Callable, Generator, Sequence

from prep.captioners import CaptionError, Payload, Request, Usage


class FakeCaptioner:
    """Says `say(request)` of each request; a batch with one that it stumbles over fails as a whole.

    Args:
        say: what it says; None where it stumbles.
        batch_size: requests that go together.
        stumbles_over: prompts that no model call survives.
    """

    model = "fake"
    revision = "1"
    takes_video = True

    def __init__(
        self,
        say: Callable[[Request], str | None] = lambda request: f"caption of {request.prompt}",
        *,
        batch_size: int = 4,
        stumbles_over: Sequence[str] = (),
    ) -> None:
        self.say = say
        self.batch_size = batch_size
        self.stumbles_over = set(stumbles_over)
        self.settings: dict[str, str | int | float | bool] = {"max_new_tokens": 8}
        self.usage = Usage()
        self.checks = 0
        self.calls: list[list[str]] = []  # the prompts of each batch, those that failed included

    @property
    def asked(self) -> list[str]:
        """Every prompt so far, in order."""
        return [prompt for call in self.calls for prompt in call]

    def check(self) -> None:
        self.checks += 1

    def captions(self, requests: Sequence[Request]) -> Generator[dict[int, str], None, None]:
        for start in range(0, len(requests), self.batch_size):
            rows = range(start, min(start + self.batch_size, len(requests)))
            batch = [requests[row] for row in rows]
            self.calls.append([request.prompt for request in batch])
            said = {row: self.say(requests[row]) for row in rows}
            made = {row: text for row, text in said.items() if text is not None}
            if self.stumbles_over & set(self.calls[-1]) or len(made) < len(said):
                raise CaptionError(rows, "RuntimeError: out of memory")
            self.usage.captions += len(batch)
            yield made


def request(prompt: str, picture: bytes = b"a picture") -> Request:
    """About one picture, which nobody decodes."""
    return Request(Payload([picture]), prompt)
