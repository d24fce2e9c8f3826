"""Chat-template markers, truncated answers and refusals: what remains of an answer, and what is flagged."""

import pytest

from prep.captioners import finish
from prep.captioners.captioner import Answer
from prep.captioners.completions import read_completion
from prep.captioners.http import FailedAttempt
from prep.captioners.postprocess import CUT

LAMP = "A red lamp on a table."


def finished(raw):
    return finish(raw, max_characters=600)


@pytest.mark.parametrize(
    "raw",
    [
        f"<think>\nI see red.\n</think>\n\n{LAMP}",
        f"I see red.\n</think>\n{LAMP}",
        f"<Thinking>red</Thinking>{LAMP}",
        f"<reasoning>red</reasoning> {LAMP}",
        f"◁think▷red◁/think▷{LAMP}",
        f"[THINK]red[/THINK]{LAMP}",
        f"{LAMP}<think>was that right?</think>",
        f"<think>a</think>{LAMP}<think>b</think>",
        f"<think>a <think> b </think> c </think>{LAMP}<|im_end|>",
        f"<|channel|>analysis<|message|>red<|end|><|start|>assistant<|channel|>final<|message|>{LAMP}<|return|>",
        f"analysisThe user wants red.assistantfinal{LAMP}",
        f"<|im_start|>assistant\n{LAMP}<|im_end|>\n<|im_start|>user\nAnd now?",
        f"<|start_header_id|>assistant<|end_header_id|>\n\n{LAMP}<|eot_id|>",
        f"<start_of_turn>model\n{LAMP}<end_of_turn><eos>",
        f"<s>{LAMP}</s>",
        f"{LAMP}<|endoftext|>",
        f"<|begin_of_box|>{LAMP}<|end_of_box|>",
        f"<think>red</think><answer>{LAMP}</answer>",
    ],
)
def test_the_caption_alone_is_left(raw):
    assert finished(raw) == (LAMP, None, "")


@pytest.mark.parametrize(
    "raw", ["<think>I look", "[THINK]I look", "<|channel|>analysis<|message|>I look", "◁think▷I"]
)
def test_reasoning_that_never_ends_is_no_caption(raw):
    found = finished(raw)
    assert (found.text, found.flaw) == ("", "reasoning")
    assert "raise max_new_tokens" in found.message


@pytest.mark.parametrize(
    "text",
    [
        "I <3 you, says a cup",
        "a < b and b > c",
        "a <b>bold</b> sign",
        "People think. A man thinks.",
    ],
)
def test_what_is_no_mark_stays(text):
    assert finished(text) == (text, None, "")


def test_a_cut_answer_ends_with_a_whole_sentence_or_is_flagged():
    shortened = finished(Answer("A red lamp. It stands on a ta", "cut"))
    assert shortened[:2] == ("A red lamp.", None) and shortened.message.startswith(CUT)
    flagged = finished(Answer("A red lamp stands on a wooden ta", "cut"))
    assert flagged.flaw == "cut" and flagged.message.startswith(CUT)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "Sorry, I cannot identify people in images.",
        "I can’t assist with this request.",
        "As an AI language model, I do not see.",
        "抱歉，我无法描述这张图片。",
    ],
)
def test_a_refusal_is_told_as_one(text):
    found = finished(text)
    assert found.flaw == "refused" and found.message.startswith("the model refused: ")


@pytest.mark.parametrize("text", ["Sorry, we are closed, says a sign.", "I can see a red lamp."])
def test_what_is_no_refusal_stays(text):
    assert finished(text).flaw is None


def completion(finish_reason="stop", **message):
    return {"choices": [{"message": message, "finish_reason": finish_reason}]}


@pytest.mark.parametrize(
    ("told", "text", "ended"),
    [
        (completion(content="A dog."), "A dog.", "whole"),
        (completion("length", content="A do"), "A do", "cut"),
        (completion("content_filter", content=""), "", "refused"),
        (completion(content=None, refusal="No."), "No.", "refused"),
        (completion(content=[{"type": "text", "text": "A dog."}]), "A dog.", "whole"),
        (completion("length", content=None, reasoning_content="I look"), "", "reasoning"),
        (completion(content="A dog.", reasoning_content="I look"), "A dog.", "whole"),
        (completion(content=None), "", "whole"),
    ],
)
def test_what_an_answer_says_of_itself_is_read(told, text, ended):
    found = read_completion(told)
    assert (found, found.ended) == (text, ended)


@pytest.mark.parametrize(
    ("told", "reason", "fixed"),
    [
        ({"error": {"message": "no such model", "code": 404}}, "no such model", False),
        ({"error": "overloaded"}, "overloaded", False),
        ({"choices": []}, "without a choice", False),
        ({}, "without a choice", False),
        (completion("tool_calls", content=None, tool_calls=[{}]), "a call of a tool", True),
    ],
)
def test_what_is_no_caption_is_told(told, reason, fixed):
    with pytest.raises(FailedAttempt, match=reason) as found:
        read_completion(told)
    assert found.value.fixed == fixed
