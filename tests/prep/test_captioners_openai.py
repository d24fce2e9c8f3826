"""The captioner that asks a server, against one that misbehaves: what is retried, what is told, what is lost."""

import base64
import socket

import cv2
import numpy as np
import pytest
from stub_server import Reply, StubServer, caption

from prep.captioners import CaptionError, Payload, Request
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
    made = OpenAICaptioner(
        "vlm", url=server.url, key_variable=KEY_VARIABLE, pause=pauses.append, **options
    )
    return made, pauses


def requests(*prompts):
    return [Request(Payload([FRAME]), prompt) for prompt in prompts]


def echo(_, prompt):
    return caption(f"caption of {prompt}")


def first(*replies):
    """These replies to each prompt, one after another, then good ones."""
    return lambda before, prompt: replies[before] if before < len(replies) else echo(0, prompt)


def test_captions_come_in_the_order_of_the_requests():
    prompts = [f"item {number}" for number in range(20)]
    with StubServer(echo) as server:
        found = captioner(server)[0].caption(requests(*prompts))
    assert found == [f"caption of {prompt}" for prompt in prompts]
    assert sorted(server.prompts()) == sorted(prompts)  # each asked for once


def test_no_more_requests_are_in_flight_than_the_limit_and_no_fewer():
    with StubServer(echo, together=3) as server:
        captioner(server, concurrency=3)[0].caption(requests(*map(str, range(12))))
    assert server.most_in_flight == 3


def test_an_image_is_a_data_url_of_the_very_jpeg():
    with StubServer(echo) as server:
        captioner(server, max_new_tokens=7)[0].caption(requests("What?"))
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
        captioner(server)[0].caption([asked])
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
        assert made.caption(requests("a")) == ["caption of a"]
    assert pauses == [1.0, 2.0, 4.0]


def test_pauses_end_growing_and_a_server_may_ask_for_longer_ones():
    busy = Reply(429, headers={"Retry-After": "90"})
    with StubServer(first(busy, *[Reply(500)] * 7)) as server:
        made, pauses = captioner(server, attempts=9)
        made.caption(requests("a"))
    assert pauses == [90.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_an_empty_text_is_an_answer():
    with StubServer(lambda *_: caption("")) as server:
        made, pauses = captioner(server)
        assert made.caption(requests("a")) == [""]
    assert pauses == []


def test_a_request_that_always_fails_is_named_and_the_others_are_kept():
    def answer(before, prompt):
        return Reply(500, b"out of memory") if prompt == "bad" else echo(before, prompt)

    with StubServer(answer) as server:
        made, pauses = captioner(server, concurrency=1, attempts=3)
        with pytest.raises(CaptionError, match=r"500, out of memory, at attempt 3 of 3") as told:
            made.caption(requests("a", "b", "bad"))
        assert server.url in told.value.reason
    assert told.value.indices == (2,)
    assert told.value.done == {0: "caption of a", 1: "caption of b"}
    assert pauses == [1.0, 2.0]
    assert server.prompts() == ["a", "b", *["bad"] * 3, "What is it?"]  # is the server well?


def test_a_request_that_is_refused_is_not_made_again():
    def answer(before, prompt):
        return Reply(400, b'{"error": "image too small"}') if prompt == "bad" else echo(0, prompt)

    with StubServer(answer) as server:
        made, pauses = captioner(server)
        with pytest.raises(CaptionError, match=r"request 0: .*image too small.* attempt 1 of 5"):
            made.caption(requests("bad"))
    assert pauses == []


def test_a_server_that_hangs_is_given_up_after_the_limit():
    def answer(before, prompt):
        return Reply(hang=True) if prompt == "bad" else echo(before, prompt)

    with StubServer(answer) as server:
        made, _ = captioner(server, timeout_seconds=0.2, attempts=2)
        with pytest.raises(CaptionError, match=r"no answer within 0.2 s, at attempt 2 of 2"):
            made.caption(requests("bad"))


def test_a_server_that_answers_nothing_any_more_ends_the_run():
    with StubServer(lambda *_: Reply(500, b"crashed")) as server:
        made, _ = captioner(server, attempts=2)
        with pytest.raises(UserError, match=r"gives no captions: status 500, crashed. Model 'vlm'"):
            made.caption(requests("a", "b"))


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
            made.caption(requests("a"))
    assert pauses == []
    assert server.prompts() == ["a"]


def test_the_key_is_sent_and_shown_nowhere(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "sk-secret\n")

    def tattle(before, prompt):
        return Reply(401, b"the key sk-secret is wrong") if prompt == "bad" else echo(0, prompt)

    with StubServer(tattle) as server:
        made, _ = captioner(server)
        made.caption(requests("a"))
        with pytest.raises(UserError, match=r"the key \*\*\* is wrong") as told:
            made.caption(requests("bad"))
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
        with pytest.raises(CaptionError, match=r"request 1: frame 1 cannot be decoded") as told:
            made.caption([*requests("a"), broken])
    assert told.value.done == {0: "caption of a"}
    assert server.prompts() == ["a"]


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://host/v1", "http://", ""])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(UserError, match="is none; give one such as http://localhost:8000/v1"):
        OpenAICaptioner("vlm", url=url)


def test_a_password_in_a_url_is_refused_without_being_told():
    with pytest.raises(UserError, match="holds a user or password") as told:
        OpenAICaptioner("vlm", url="http://me:hush@host/v1")
    assert "hush" not in str(told.value)


def test_settings_are_what_captions_depend_on_not_where_or_how_fast():
    here = OpenAICaptioner("vlm", url="http://a/v1", concurrency=1)
    there = OpenAICaptioner("vlm", url="http://b/v1", concurrency=9, timeout_seconds=1.0)
    assert here.settings == there.settings
    assert here.settings != OpenAICaptioner("vlm", url="http://a/v1", temperature=0.1).settings
    penalised = OpenAICaptioner("vlm", url="http://a/v1", repetition_penalty=1.05)
    assert penalised.settings["repetition_penalty"] == 1.05
