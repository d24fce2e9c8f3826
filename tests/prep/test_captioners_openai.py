"""The captioner that uses a server, against a faulty server: retries, messages and losses."""

import base64
import socket
import threading
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from collect_captions import captions, captions_and_error, threads_at_work
from stub_server import Reply, StubServer, caption

from prep.captioners import Payload, Request
from prep.captioners.openai import OpenAICaptioner
from toolkit import UserError

KEY_VARIABLE = "VERSA_TEST_KEY"
FRAME = cv2.imencode(".jpg", np.zeros((8, 8, 3), dtype=np.uint8))[1].tobytes()


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def captioner(server, **options):
    """One whose pauses are noted down, not waited for."""
    pauses = []

    def pause(_, seconds):
        pauses.append(seconds)

    options = {"key_variable": KEY_VARIABLE, "pause": pause, **options}
    return OpenAICaptioner("vlm", url=server.url, **options), pauses


def requests(*prompts):
    return [Request(Payload([FRAME]), prompt) for prompt in prompts]


def echo(_, prompt):
    return caption(f"caption of {prompt}")


def first(*replies):
    """These replies to each prompt, one after another, then good ones."""
    return lambda before, prompt: replies[before] if before < len(replies) else echo(0, prompt)


def test_each_request_gets_its_own_caption_once():
    prompts = [f"item {number}" for number in range(20)]
    with StubServer(echo) as server:
        made, _ = captioner(server)
        found = captions(made, requests(*prompts))
    assert found == [f"caption of {prompt}" for prompt in prompts]
    assert sorted(server.prompts()) == sorted(prompts)  # each asked for once
    assert made.usage.captions == 20


def test_a_caption_is_there_while_others_are_still_awaited():
    """The slow one is answered only after the other's caption was taken."""
    taken = threading.Event()

    def answer(_, prompt):
        assert prompt == "quick" or taken.wait(30)
        return caption(prompt)

    with StubServer(answer) as server:
        coming = captioner(server)[0].captions(requests("slow", "quick"))
        assert next(coming) == {1: "quick"}
        taken.set()
        assert list(coming) == [{0: "slow"}]


class Noted(Sequence):
    """Remembers how far it was read."""

    def __init__(self, items):
        self.items, self.read = items, 0

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        self.read = max(self.read, min(row + 1, len(self)))
        return self.items[row]


def test_requests_are_taken_no_further_ahead_than_twice_the_limit():
    noted = Noted(requests(*map(str, range(40))))
    with StubServer(echo) as server:
        coming = captioner(server, concurrency=3)[0].captions(noted)
        ahead = [noted.read - yielded for yielded, _ in enumerate(coming)]
    assert ahead[:34] == [6] * 34  # then there are no more


def test_who_leaves_early_leaves_no_request_to_be_made():
    with StubServer(echo, together=2) as server:
        coming = captioner(server, concurrency=2)[0].captions(requests(*map(str, range(20))))
        next(coming)
        coming.close()
        assert threads_at_work() == []
        made = len(server.bodies)
        assert made <= 4
    assert len(server.bodies) == made


def test_who_leaves_early_waits_for_no_pause():
    """A server that is to be left alone for an hour: with the pauses as they are in life."""

    def answer(_, prompt):
        return caption("yes") if prompt == "good" else Reply(429, headers={"Retry-After": "3600"})

    with StubServer(answer, together=2) as server:
        coming = captioner(server, pause=threading.Event.wait)[0].captions(requests("bad", "good"))
        assert next(coming) == {1: "yes"}
        coming.close()
    assert sorted(server.prompts()) == ["bad", "good"]


def test_no_more_requests_are_in_flight_than_the_limit_and_no_fewer():
    with StubServer(echo, together=3) as server:
        captions(captioner(server, concurrency=3)[0], requests(*map(str, range(12))))
    assert server.most_in_flight == 3


def test_an_image_is_a_data_url_of_the_very_jpeg():
    with StubServer(echo) as server:
        captions(captioner(server, max_new_tokens=7)[0], requests("What?"))
    (body,) = server.bodies
    assert {key: body[key] for key in ("model", "max_tokens", "temperature")} == {
        "model": "vlm",
        "max_tokens": 7,
        "temperature": 0.0,
    }
    assert "repetition_penalty" not in body  # servers that do not know it refuse it
    image, text = body["messages"][0]["content"]
    kind, _, data = image["image_url"]["url"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert base64.b64decode(data) == FRAME
    assert text == {"type": "text", "text": "What?"}


@pytest.mark.parametrize(
    ("times", "told"),
    [
        (
            [0.5, 2.04],
            "These 2 images are frames of one video, in order, at 0.5, 2.0 seconds.\nWhat?",
        ),
        (None, "These 2 images are frames of one video, in order.\nWhat?"),
    ],
)
def test_a_video_is_its_frames_in_order_and_their_times(times, told):
    other = cv2.imencode(".jpg", np.full((8, 8, 3), 255, dtype=np.uint8))[1].tobytes()
    with StubServer(echo) as server:
        asked = Request(Payload([FRAME, other], times, is_video=True), "What?")
        captions(captioner(server)[0], [asked])
    *images, text = server.bodies[0]["messages"][0]["content"]
    sent = [base64.b64decode(image["image_url"]["url"].partition(",")[2]) for image in images]
    assert sent == [FRAME, other]
    assert text["text"] == told


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param(Reply(429, b"slow down"), id="429"),
        pytest.param(Reply(503, b"loading"), id="503"),
        pytest.param(Reply(body=b'{"choices": [{"mess'), id="half a JSON"),
        pytest.param(Reply(body=b'{"choices"', missing_bytes=90), id="connection closed"),
        pytest.param(Reply(body=b"[]"), id="no object"),
        pytest.param(Reply(body=b'{"choices": []}'), id="empty choices"),
        pytest.param(caption(None), id="content null"),
    ],
)
def test_what_may_pass_is_tried_again_after_doubled_pauses(spoilt):
    with StubServer(first(spoilt, spoilt, spoilt)) as server:
        made, pauses = captioner(server)
        assert captions(made, requests("a")) == ["caption of a"]
    assert pauses == [1.0, 2.0, 4.0]


def test_pauses_end_growing_and_a_server_may_ask_for_longer_ones():
    busy = Reply(429, headers={"Retry-After": "90"})
    with StubServer(first(busy, *[Reply(500)] * 7)) as server:
        made, pauses = captioner(server, attempts=9)
        captions(made, requests("a"))
    assert pauses == [90.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_a_pause_that_a_server_asks_for_has_a_limit(capsys):
    busy = Reply(429, headers={"Retry-After": "86400"})
    with StubServer(first(busy)) as server:
        made, pauses = captioner(server)
        assert captions(made, requests("a")) == ["caption of a"]
    assert pauses == [300.0]
    assert "requests a pause of 86,400 s; waiting only 300 s" in capsys.readouterr().err


def test_an_empty_text_is_an_answer():
    with StubServer(lambda *_: caption("")) as server:
        made, pauses = captioner(server)
        assert captions(made, requests("a")) == [""]
    assert pauses == []


def test_a_request_that_always_fails_is_named_after_the_others_came():
    def answer(before, prompt):
        return Reply(500, b"out of memory") if prompt == "bad" else echo(before, prompt)

    with StubServer(answer) as server:
        made, pauses = captioner(server, concurrency=1, attempts=3)
        found, error = captions_and_error(
            made, requests("a", "b", "bad"), match=r"500, out of memory, at attempt 3 of 3"
        )
        assert server.url in error.reason
    assert error.indices == (2,)
    assert found == {0: "caption of a", 1: "caption of b"}
    assert pauses == [1.0, 2.0]
    assert server.prompts() == ["a", "b", *["bad"] * 3, "What is it?"]  # is the server well?


def test_what_is_in_flight_beside_a_failure_is_kept():
    """Both are in flight; the good one is answered once the bad one was asked for."""
    asked = threading.Event()

    def answer(_, prompt):
        if prompt == "bad":
            asked.set()
            return Reply(400, b"too small")
        assert asked.wait(30)
        return caption(prompt)

    with StubServer(answer, together=2) as server:
        made, _ = captioner(server, concurrency=2)
        found, error = captions_and_error(made, requests("bad", "good"), match="request 0: .*too")
    assert error.indices == (0,)
    assert found == {1: "good"}


def test_after_a_failure_no_other_request_begins():
    def answer(before, prompt):
        return Reply(400, b"too small") if prompt == "bad" else echo(before, prompt)

    with StubServer(answer) as server:
        made, _ = captioner(server, concurrency=1)
        captions_and_error(made, requests("a", "bad", "c", "d", "e"), match="request 1: ")
    assert {"d", "e"}.isdisjoint(server.prompts())  # c was taken beside the bad one


def test_a_request_that_is_refused_is_not_made_again():
    def answer(before, prompt):
        return Reply(400, b'{"error": "image too small"}') if prompt == "bad" else echo(0, prompt)

    with StubServer(answer) as server:
        made, pauses = captioner(server)
        told = r"request 0: .*image too small.* attempt 1 of 5"
        assert captions_and_error(made, requests("bad"), told)[0] == {}
    assert pauses == []


def test_a_server_that_hangs_is_given_up_after_the_limit():
    def answer(before, prompt):
        return Reply(hang=True) if prompt == "bad" else echo(before, prompt)

    with StubServer(answer) as server:
        made, _ = captioner(server, timeout_seconds=0.2, attempts=2)
        told = r"no answer within 0.2 s, at attempt 2 of 2"
        assert captions_and_error(made, requests("bad"), told)[0] == {}


def test_a_server_that_answers_nothing_any_more_ends_the_run():
    with StubServer(lambda *_: Reply(500, b"crashed")) as server:
        made, _ = captioner(server, attempts=2)
        with pytest.raises(
            UserError,
            match=r"returned no captions: status 500, crashed. The request was for model 'vlm'",
        ):
            captions(made, requests("a", "b"))


def test_a_server_that_is_down_is_told_by_its_url_and_what_was_asked():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    made = OpenAICaptioner("vlm", url=url, key_variable=KEY_VARIABLE)
    with pytest.raises(UserError, match=rf"^{url}/chat/completions .*Connection refused.*'vlm'"):
        made.check()


def test_a_check_asks_once_for_one_token_about_an_image():
    with StubServer(echo) as server:
        captioner(server)[0].check()
    (body,) = server.bodies
    assert body["max_tokens"] == 1
    assert body["messages"][0]["content"][0]["type"] == "image_url"


@pytest.mark.parametrize("status", [301, 401, 403, 404])
def test_a_wrong_address_key_or_model_ends_the_run_at_once(status):
    with StubServer(lambda *_: Reply(status, headers={"Location": "http://localhost"})) as server:
        made, pauses = captioner(server)
        with pytest.raises(UserError, match=rf"status {status}.* without a key.*{KEY_VARIABLE}"):
            captions(made, requests("a"))
    assert pauses == []
    assert server.prompts() == ["a"]


def test_the_key_is_sent_and_shown_nowhere(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "sk-secret\n")

    def tattle(before, prompt):
        return Reply(401, b"the key sk-secret is wrong") if prompt == "bad" else echo(0, prompt)

    with StubServer(tattle) as server:
        made, _ = captioner(server)
        captions(made, requests("a"))
        with pytest.raises(UserError, match=r"the key \*\*\* is wrong") as told:
            captions(made, requests("bad"))
    assert server.headers[0]["Authorization"] == "Bearer sk-secret"
    assert "with the key" in str(told.value)
    for shown in (str(told.value), repr(told.value.__context__), repr(made), str(vars(made))):
        assert "sk-secret" not in shown


def test_a_key_that_no_header_may_hold_is_not_told(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "sk-sec\nret")
    with StubServer(echo) as server, pytest.raises(UserError, match=KEY_VARIABLE) as told:
        captioner(server)[0].check()
    assert "sk-sec" not in str(told.value)


def test_frames_that_cannot_be_decoded_never_reach_the_server():
    broken = Request(Payload([FRAME, b"no image"], [0.0, 1.0], is_video=True), "bad")
    with StubServer(echo) as server:
        made, _ = captioner(server, concurrency=1)
        found, _ = captions_and_error(
            made, [*requests("a"), broken], match=r"request 1: frame 1 cannot be decoded"
        )
    assert found == {0: "caption of a"}
    assert server.prompts() == ["a"]


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://host/v1", "http://", ""])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(UserError, match="is invalid; give a URL such as http://localhost:8000/v1"):
        OpenAICaptioner("vlm", url=url)


def test_a_password_in_a_url_is_refused_without_being_told():
    with pytest.raises(UserError, match="contains a user or password") as told:
        OpenAICaptioner("vlm", url="http://me:hush@host/v1")
    assert "hush" not in str(told.value)


def test_settings_are_what_captions_depend_on_not_where_or_how_fast():
    here = OpenAICaptioner("vlm", url="http://a/v1", concurrency=1)
    there = OpenAICaptioner("vlm", url="http://b/v1", concurrency=9, timeout_seconds=1.0)
    assert here.settings == there.settings
    assert here.settings != OpenAICaptioner("vlm", url="http://a/v1", temperature=0.1).settings
    penalised = OpenAICaptioner("vlm", url="http://a/v1", repetition_penalty=1.05)
    assert penalised.settings["repetition_penalty"] == 1.05
