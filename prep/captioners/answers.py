"""Answers in JSON: read out of what a model wrote, held against a schema, and made one text."""

import json
from typing import Any

# JSON Schema (https://json-schema.org/draft/2020-12) of what the `json` prompts ask for. Of its language
# only these words are used, and `_refuse_mismatch` reads no others.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": [
        "topic",
        "people_and_actions",
        "setting",
        "on_screen_text",
        "mood",
        "style",
        "audience",
        "tags",
    ],
    "properties": {
        "topic": {"type": "string"},
        "people_and_actions": {"type": "string"},
        "setting": {"type": "string"},
        "on_screen_text": {"type": "string"},
        "mood": {"type": "string"},
        "style": {"type": "string"},
        "audience": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}
_TYPES = {"object": dict, "array": list, "string": str}


def read_answer(text: str) -> dict[str, Any]:
    """The JSON object in a model's answer; what stands before and after it is left out.

    Args:
        text: as the model wrote it, perhaps fenced as Markdown code or after a sentence.

    Raises:
        ValueError: if there is no whole object in it, or it is not as `SCHEMA` says.
    """
    start = text.find("{")
    if start < 0:
        raise ValueError("the answer holds no JSON object")
    try:
        answer, _ = json.JSONDecoder().raw_decode(text, start)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"the answer's JSON is broken ({error})") from None
    _refuse_mismatch(answer, SCHEMA, "the answer")
    return dict(answer)


def flatten_answer(answer: dict[str, Any]) -> str:
    """One text of an answer: a sentence for each key that says something, in the schema's order.

    Keys that the schema does not know are left out, so the text depends on the known ones alone.

    >>> flatten_answer({"topic": "cooking", "mood": "", "tags": ["soup", "home"]})
    'topic: cooking; tags: soup, home'
    """
    parts = []
    for key in SCHEMA["properties"]:
        value = answer.get(key, "")
        said = ", ".join(filter(None, map(str.strip, value))) if isinstance(value, list) else value
        if said.strip():
            parts.append(f"{key.replace('_', ' ')}: {said.strip()}")
    return "; ".join(parts)


def _refuse_mismatch(value: Any, schema: dict[str, Any], where: str) -> None:
    if not isinstance(value, _TYPES[schema["type"]]):
        raise ValueError(f"{where} is {type(value).__name__}, expected {schema['type']}")
    for key in schema.get("required", ()):
        if key not in value:
            raise ValueError(f"{where} lacks {key!r}")
    for key, part in schema.get("properties", {}).items():
        if key in value:
            _refuse_mismatch(value[key], part, f"{where}'s {key!r}")
    for number, part in enumerate(value if "items" in schema else ()):
        _refuse_mismatch(part, schema["items"], f"{where}[{number}]")
