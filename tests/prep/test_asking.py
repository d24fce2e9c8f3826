"""Captioning around failing requests: bisection, the cache, and when to stop."""

import math

import pytest
from fake_captioner import FakeCaptioner, request

from prep.captioners import CaptionError
from prep.captioners.asking import GIVE_UP_AFTER, LOOKS, Asker, Failure
from prep.captioners.cache import Cache, key_of
from toolkit import UserError


def test_captions_come_in_the_order_of_requests():
    captioner = FakeCaptioner()
    said = Asker(captioner).ask([request(word) for word in "abcdef"])
    assert said == [f"caption of {word}" for word in "abcdef"]
    assert captioner.calls == [["a"], list("bcde"), ["f"]]  # the first is looked at alone


def test_nothing_is_asked_where_nothing_is_wanted():
    captioner = FakeCaptioner()
    assert Asker(captioner).ask([]) == []
    assert captioner.checks == 0


@pytest.mark.parametrize("bad", ["a", "f", "p", "z"])
def test_a_batch_that_fails_is_halved_until_the_bad_item_stands_alone(bad):
    words = "abcdefghijklmnopqrstuvwxyz"
    captioner = FakeCaptioner(batch_size=8, stumbles_over=bad)
    said = dict(zip(words, Asker(captioner).ask([request(w) for w in words]), strict=True))
    assert said.pop(bad) == Failure("RuntimeError: out of memory")
    assert said == {word: f"caption of {word}" for word in words if word != bad}
    assert captioner.asked.count(bad) <= 1 + math.ceil(math.log2(8))  # each time half as many
    assert [call for call in captioner.calls if bad in call][-1] == [bad]


def test_several_bad_items_are_told_apart():
    words = "abcdefghijklmnop"
    captioner = FakeCaptioner(batch_size=16, stumbles_over="bcp")
    said = dict(zip(words, Asker(captioner).ask([request(w) for w in words]), strict=True))
    assert {word for word, text in said.items() if isinstance(text, Failure)} == {"b", "c", "p"}


def test_what_succeeded_before_a_failure_is_not_asked_again():
    captioner = FakeCaptioner(batch_size=4, stumbles_over="h")
    Asker(captioner).ask([request(word) for word in "abcdefghijkl"])
    for word in "abcd":
        assert captioner.asked.count(word) == 1


def test_equal_requests_are_asked_once():
    captioner = FakeCaptioner()
    asker = Asker(captioner)
    said = asker.ask([request("a"), request("b"), request("a"), request("a", b"another")])
    assert said == ["caption of a", "caption of b", "caption of a", "caption of a"]
    assert captioner.asked == ["a", "b", "a"]
    assert (asker.known, asker.asked) == (0, 3)


def test_a_model_that_fails_on_everything_is_given_up():
    words = [f"{number:02}" for number in range(100)]
    captioner = FakeCaptioner(batch_size=1, stumbles_over=words)
    asker = Asker(captioner)
    with pytest.raises(UserError, match=r"'fake' failed on 16 items in a row.*out of memory"):
        asker.ask([request(word) for word in words])
    assert len(captioner.calls) == GIVE_UP_AFTER


def test_failures_in_a_row_are_counted_from_call_to_call_and_a_success_forgets_them():
    good, bad = request("good"), [request(f"bad {number}") for number in range(GIVE_UP_AFTER)]
    captioner = FakeCaptioner(batch_size=1, stumbles_over=[b.prompt for b in bad])
    asker = Asker(captioner)
    asker.ask(bad[:-1])
    asker.ask([good])
    asker.ask(bad[:-1])
    with pytest.raises(UserError, match="in a row"):
        asker.ask(bad[-1:])


def test_the_model_is_checked_once_before_the_first_request_it_gets(tmp_path):
    first, second = FakeCaptioner(), FakeCaptioner()
    asker = Asker(first, cache=Cache(tmp_path))
    asker.ask([request("a")])
    asker.ask([request("b")])
    assert first.checks == 1
    assert Asker(second, cache=Cache(tmp_path)).ask([request("b"), request("a")]) == [
        "caption of b",
        "caption of a",
    ]
    assert (second.checks, second.calls) == (0, [])


def test_what_was_made_before_a_crash_is_in_the_cache(tmp_path):
    def say(asked):
        if asked.prompt == "e":
            raise KeyboardInterrupt
        return asked.prompt

    requests = [request(word) for word in "abcdefgh"]
    with pytest.raises(KeyboardInterrupt):
        Asker(FakeCaptioner(say, batch_size=2), cache=Cache(tmp_path)).ask(requests)
    again = FakeCaptioner(batch_size=2)
    Asker(again, cache=Cache(tmp_path)).ask(requests)
    assert again.asked == list("defgh")  # d was on its way with e


def test_only_captions_worth_keeping_are_kept(tmp_path):
    def asker(captioner):
        return Asker(captioner, cache=Cache(tmp_path), worth_keeping=lambda said: said != "")

    silent = FakeCaptioner(lambda asked: "" if asked.prompt == "b" else "words")
    assert asker(silent).ask([request("a"), request("b")]) == ["words", ""]
    again = FakeCaptioner()
    assert asker(again).ask([request("a"), request("b")]) == ["words", "caption of b"]
    assert again.asked == ["b"]


def test_a_first_answer_that_is_fine_is_looked_at_alone_and_used():
    captioner, looked = FakeCaptioner(), []
    asker = Asker(captioner, hopeless=looked.append)
    assert asker.ask([request(word) for word in "abc"]) == [f"caption of {w}" for w in "abc"]
    assert (captioner.calls, looked) == ([["a"], ["b", "c"]], ["caption of a"])
    asker.ask([request("d")])
    assert len(looked) == 1


def test_a_model_whose_first_answers_are_all_hopeless_is_not_asked_for_thousands():
    captioner = FakeCaptioner()
    asker = Asker(captioner, hopeless=lambda said: "it thinks for ever")
    told = rf"'fake' captioned none of the first {LOOKS} items: .*it thinks for ever"
    with pytest.raises(UserError, match=told):
        asker.ask([request(str(number)) for number in range(1000)])
    assert len(captioner.asked) == LOOKS


def test_one_hopeless_answer_among_the_first_ends_nothing():
    captioner = FakeCaptioner()
    asker = Asker(captioner, hopeless=lambda said: "it thinks" if said.endswith("a") else None)
    assert len(asker.ask([request(word) for word in "abcdefg"])) == 7
    assert captioner.calls == [["a"], ["b"], list("cdef"), ["g"]]


def test_several_that_failed_each_by_itself_are_not_asked_again():
    class TwoAtOnce(FakeCaptioner):
        def captions(self, requests):
            prompts = [asked.prompt for asked in requests]
            self.calls.append(prompts)
            bad = [row for row, prompt in enumerate(prompts) if prompt in "bd"]
            yield {row: "fine" for row in range(len(prompts)) if row not in bad}
            if bad:
                first, *others = bad
                raise CaptionError([first], "too small", dict.fromkeys(others, "too large"))

    captioner = TwoAtOnce()
    said = Asker(captioner).ask([request(word) for word in "abcd"])
    assert said == ["fine", Failure("too small"), "fine", Failure("too large")]
    assert captioner.calls == [["a"], ["b", "c", "d"]]


def test_what_an_older_version_kept_and_this_one_would_not_is_asked_again(tmp_path):
    captioner = FakeCaptioner()
    Cache(tmp_path).keep({key_of(request("a"), captioner): "<think>for"}, captioner)
    asker = Asker(captioner, cache=Cache(tmp_path), worth_keeping=lambda said: "<" not in said)
    assert asker.ask([request("a")]) == ["caption of a"]
    assert Cache(tmp_path).find([key_of(request("a"), captioner)]) == {
        key_of(request("a"), captioner): "caption of a"
    }
