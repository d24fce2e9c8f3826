"""Prompts: looked up by name, pinned by version and hash, refused before a run if a slot cannot be filled."""

import hashlib

import pytest

from prep.captioners import Prompt, built_in_prompts, load_prompt
from toolkit import UserError

# Of the texts as they were released. A prompt is never edited: a better one is another version, so that
# captions made with the old one still say what they answered.
RELEASED = {
    "image-json@1": "e443fcd2530f6be7",
    "image-plain@1": "8f681d5bf4c2d240",
    "image-rec@1": "9be5ed51ce216ed6",
    "image-unprompted@1": "4355a46b19d348dc",
    "video-json@1": "c8d23eff2c11fac1",
    "video-plain@1": "ce824a2cb3daf8c9",
    "video-rec@1": "0c5419197c8b64bc",
}


def test_every_built_in_prompt_loads_and_says_what_it_asks():
    for name, versions in built_in_prompts().items():
        prompt = load_prompt(name)
        assert (prompt.name, prompt.version) == (name, max(versions))
        assert prompt.answer == ("json" if name.endswith("-json") else "text")
        assert prompt.slots == ()
        assert "at most" in prompt.text or name == "image-unprompted"  # a stated length


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_prompt_never_changes(name):
    assert load_prompt(name).hash == RELEASED[name]


def test_every_released_version_is_among_those():
    found = {f"{name}@{v}" for name, versions in built_in_prompts().items() for v in versions}
    assert found == set(RELEASED)


@pytest.mark.parametrize("kind", ["image", "video"])
def test_prompts_for_recommenders_ask_for_every_slot(kind):
    wanted = ["topic", "people", "do", "setting", "text", "mood", "style", "audience", "tags"]
    wanted += ["only visible facts", "at most 100 words"]
    for variant in ("rec", "json"):
        text = load_prompt(f"{kind}-{variant}").text.lower()
        assert [word for word in wanted if word not in text] == []


def test_the_hash_is_of_the_text_and_the_version():
    prompt = Prompt("p", 2, "Say {title}.")
    expected = hashlib.sha256(b"2\nSay {title}.").hexdigest()[:16]
    assert prompt.hash == expected
    assert Prompt("q", 2, "Say {title}.").hash == expected  # a name changes nothing
    assert Prompt("p", 3, "Say {title}.").hash != expected
    assert Prompt("p", 2, "Say {title}!").hash != expected


def test_slots_are_filled_once():
    prompt = Prompt("p", 1, 'Of "{title}", {title}: {"topic": "..."}')
    assert prompt.slots == ("title",)
    assert (
        prompt.fill(title="a {title} \\1") == 'Of "a {title} \\1", a {title} \\1: {"topic": "..."}'
    )


def test_a_file_is_a_prompt(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("Was zeigt „{title}“?\n", encoding="utf-8")
    prompt = load_prompt(str(file))
    assert prompt == Prompt(str(file), 0, "Was zeigt „{title}“?")


def test_an_unknown_slot_is_refused(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("{title} by {author}")
    with pytest.raises(
        UserError, match=r"mine.txt' has the unknown slot \{author\}.*known slots: \{title\}"
    ):
        load_prompt(str(file))


@pytest.mark.parametrize("name", ["image-plane", "image-plain@9", "image-plain@x", "no/such.txt"])
def test_an_unknown_prompt_is_refused_with_those_there_are(name):
    with pytest.raises(UserError, match=rf"prompt '{name}' is neither .*image-plain, .*video-rec"):
        load_prompt(name)


def test_an_older_version_is_had_by_its_number():
    assert load_prompt("image-plain@1").version == 1


def test_a_file_in_another_encoding_is_refused(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_bytes("Was zeigt „das“?".encode("utf-16"))
    with pytest.raises(UserError, match="not UTF-8"):
        load_prompt(str(file))
