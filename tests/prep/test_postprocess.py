"""Postprocessing of captions: each rule alone, then all together; the language is kept."""

import json

import pytest

from prep.captioners import finish
from prep.captioners.answers import SCHEMA, flatten_answer, read_answer
from prep.captioners.postprocess import (
    collapse_whitespace,
    cut,
    find_loop,
    strip_preamble,
    strip_wrapping,
    tidy,
)

ANSWER = {
    "topic": "baking",
    "people_and_actions": "two men knead dough",
    "setting": "",
    "on_screen_text": "DAY 1",
    "mood": "calm",
    "style": "handheld",
    "audience": "home cooks",
    "tags": ["bread", " flour ", ""],
}
FLAT = (
    "topic: baking; people and actions: two men knead dough; on screen text: DAY 1; mood: calm; "
    "style: handheld; audience: home cooks; tags: bread, flour"
)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Sure, here is a description of the image: A dog.", "A dog."),
        ("Sure! Here's the caption:\nA dog.", "A dog."),
        ("Sure here is the caption: A dog.", "A dog."),
        ("Certainly! I'd be happy to help. Here is what I see: A dog.", "A dog."),
        ("Caption: A dog.", "A dog."),
        ("Assistant: Description: A dog.", "A dog."),
        ("好的，以下是对图片的描述：一只狗。", "一只狗。"),
        ("没问题！描述：一只狗。", "一只狗。"),
    ],
)
def test_talk_about_the_answer_goes(text, left):
    assert strip_preamble(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "The image shows a dog.",  # its beginning is the caption's own
        "Here is a sign: STOP",
        "Great Danes run.",
        "OK",
        "Sure thing",
        "A note that says Sure, here is a caption: none",
        "这是一张海报，上面写着：开业大吉",
        "",
    ],
)
def test_content_that_looks_like_a_preamble_stays(text):
    assert strip_preamble(text) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('"A dog."', "A dog."),
        ("“A dog.”", "A dog."),
        ("「一只狗。」", "一只狗。"),
        ("**A dog** runs.", "A dog runs."),
        ('**"A dog."**', "A dog."),
        ("```\nA dog.\n```", "A dog."),
        ("```text\nA dog.", "A dog."),  # the fence's end was beyond the limit of tokens
        ("## Caption\n- a dog\n- a cat", "Caption\na dog\na cat"),
        ("1. a dog\n2) a cat", "a dog\na cat"),
        ('""', ""),
        ('"Stop" says the "sign"', '"Stop" says the "sign"'),
        ("#cats at 5 * 3 o'clock", "#cats at 5 * 3 o'clock"),
    ],
)
def test_markdown_and_quotes_around_it_go(text, left):
    assert strip_wrapping(text) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (" a\n\n b\t\u3000c ", "a b c"),
        ("a\x00b\x1bc", "a b c"),
        ("an emoji \ud83d\ude00 as two halves", "an emoji 😀 as two halves"),
        ("half an emoji \ud83d", "half an emoji \ufffd"),
    ],
)
def test_a_caption_is_one_line_that_a_table_can_hold(text, left):
    assert collapse_whitespace(text) == left
    left.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "limit", "left"),
    [
        ("A dog. A cat.", 13, "A dog. A cat."),
        ("A dog. A cat.", 12, "A dog."),  # 6 characters: half of the limit
        ("A dog. A caterpillar eats.", 16, "A dog. A"),  # the sentence alone is less than half
        ("It is 3.5 m long.", 9, "It is 3.5"),  # no sentence ends within a number
        ('He said "Go." Then', 16, 'He said "Go."'),
        ("一只狗在跑。它很快乐。", 8, "一只狗在跑。"),
        ("“你好！”他说，天气很好", 8, "“你好！”"),
        ("一只狗在公园里跑，非常快乐地跑", 12, "一只狗在公园里跑"),
        ("一只狗在公园里跑来跑去", 8, "一只狗在公园里跑"),
        ("red, green, blue", 13, "red, green"),
        ("abcdefghij", 4, "abcd"),
        ("ab👩‍👩‍👧", 5, "ab"),  # one family of five code points
        ("abcde\u0301f", 5, "abcd"),  # e and its accent
        ("abc👍🏽", 4, "abc"),  # a thumb and its skin
        ("日本の\u3099", 3, "日本"),  # a kana and its voicing mark
    ],
)
def test_a_long_caption_is_cut_where_the_eye_sees_an_end(text, limit, left):
    assert cut(text, limit) == left


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("A dog. " * 5, "A dog. "),
        ("It begins well and then a a a a a a a a a a a a a", " a"),
        ("红色的圆" * 4, "红色的圆"),  # 16 characters, as wide as 32
        ("tags: dog, dog, dog, dog, dog, dog", " dog,"),
    ],
)
def test_a_phrase_in_a_loop_is_found(text, loop):
    assert find_loop(text) == loop


@pytest.mark.parametrize(
    "text",
    [
        "very, very, very good",
        "ha ha ha ha says the text",
        "哈哈哈哈",
        "A dog. " * 3,
        "-" * 80,
        "A red dog runs left. A red cat runs left. A red cow runs left. A red pig runs left.",
    ],
)
def test_what_is_merely_repeated_is_no_loop(text):
    assert find_loop(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Ein Café in Zürich – «schön»!",
        "ИЗ красный круг",
        "一只狗在跑，「快乐」。",
        "पत्ते और फूल",
        "कुत्ता 🐕‍🦺",
    ],
)
def test_the_language_is_unchanged(text):
    assert finish(text, max_characters=100).text == text
    assert tidy(tidy(text)) == tidy(text)


@pytest.mark.parametrize("raw", ["", " \n\t", '""', "```\n```", "**"])
def test_a_model_that_says_nothing_is_flagged(raw):
    finished = finish(raw, max_characters=100)
    assert (finished.text, finished.flaw) == ("", "empty")


def test_a_model_that_repeats_itself_is_flagged_and_its_words_are_kept():
    finished = finish("A dog runs. " * 100, max_characters=30)
    assert finished == (
        "A dog runs. A dog runs.",
        "repeats",
        "the model repeats itself: 'A dog runs. '",
    )


def test_a_good_caption_has_no_flaw():
    raw = 'Sure! Here is the caption:\n"**A dog** runs.\nIt is brown."'
    assert finish(raw, max_characters=100) == ("A dog runs. It is brown.", None, "")


@pytest.mark.parametrize("around", ["{}", "Here you go:\n```json\n{}\n```\nEnjoy!", "{} {{}}"])
def test_an_answer_in_json_becomes_one_text(around):
    raw = around.format(json.dumps(ANSWER))
    assert finish(raw, max_characters=500, answer="json") == (FLAT, None, "")


def test_the_order_of_keys_and_unknown_keys_change_nothing():
    turned = {"unasked": 1, **dict(reversed(ANSWER.items()))}
    assert flatten_answer(read_answer(json.dumps(turned))) == FLAT


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("A dog.", "the answer contains no JSON object"),
        ('{"topic": "dogs", "peo', "the answer's JSON is broken"),
        (json.dumps({k: v for k, v in ANSWER.items() if k != "mood"}), "the answer lacks 'mood'"),
        (json.dumps(ANSWER | {"tags": "bread"}), "the answer's 'tags' is str, expected array"),
        (json.dumps(ANSWER | {"tags": [1]}), r"the answer's 'tags'\[0\] is int, expected string"),
        (json.dumps(ANSWER | {"topic": None}), "the answer's 'topic' is NoneType, expected string"),
    ],
)
def test_an_answer_that_is_not_as_the_schema_says_is_flagged(raw, message):
    with pytest.raises(ValueError, match=message):
        read_answer(raw)
    finished = finish(raw, max_characters=500, answer="json")
    assert finished.flaw == "not_json"
    assert finished.text == raw  # what was said stays to be read


def test_an_answer_of_nothing_but_empty_fields_is_flagged_as_empty():
    nothing = {key: [] if key == "tags" else "" for key in SCHEMA["properties"]}
    assert finish(json.dumps(nothing), max_characters=99, answer="json").flaw == "empty"
