"""Captioners from a configuration, and what is refused before anything runs."""

import subprocess
import sys

import pytest

from prep.captioners import Usage, load_captioner
from prep.config import CaptionConfig
from toolkit import UserError


def test_a_server_is_configured_without_being_asked():
    config = CaptionConfig(
        source="frames",
        captioner="openai",
        model="big",
        url="http://127.0.0.1:9/v1/",  # nothing listens there
        revision="abc",
        max_new_tokens=5,
        repetition_penalty=1.05,
    )
    made = load_captioner(config)
    assert (made.model, made.revision, made.takes_video) == ("big", "abc", True)
    assert made.settings == {
        "captioner": "openai",
        "max_tokens": 5,
        "temperature": 0.0,
        "repetition_penalty": 1.05,
    }


def test_every_option_of_a_server_reaches_it():
    made = load_captioner(
        CaptionConfig(
            captioner="openai",
            model="m",
            key_variable="K",
            concurrency=2,
            timeout_seconds=3.0,
            attempts=4,
        )
    )
    found = {
        key: vars(made)[key]
        for key in ("key_variable", "concurrency", "timeout_seconds", "attempts")
    }
    assert found == {"key_variable": "K", "concurrency": 2, "timeout_seconds": 3.0, "attempts": 4}


@pytest.mark.parametrize("captioner", ["transformers", "openai"])
def test_a_captioner_without_a_model_is_refused(captioner):
    with pytest.raises(UserError, match="no model is configured; set model to a folder or a name"):
        load_captioner(CaptionConfig(captioner=captioner))


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("max_new_tokens", 0, "at least 1"),
        ("max_characters", 0, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("concurrency", 0, "at least 1"),
        ("attempts", 0, "at least 1"),
        ("repetition_penalty", 0.0, "above 0"),
        ("timeout_seconds", float("nan"), "above 0"),
        ("temperature", -0.1, "at least 0"),
    ],
)
def test_a_number_out_of_range_is_refused(key, value, rule):
    with pytest.raises(UserError, match=f"{key} is {value}; it must be {rule}"):
        CaptionConfig(**{key: value})


def test_the_plain_prompt_for_the_source_is_the_default():
    assert CaptionConfig().prompt_name == "image-plain"
    assert CaptionConfig(source="frames").prompt_name == "video-plain"
    assert CaptionConfig(source="frames", prompt="mine.txt").prompt_name == "mine.txt"


def test_the_share_of_time_in_which_a_model_waited():
    assert Usage(busy_seconds=3.0, idle_seconds=1.0).idle_share == 1 / 4
    assert Usage().idle_share == 0.0


def test_help_and_prompts_need_not_wait_for_torch():
    code = "import sys, prep.captioners; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
