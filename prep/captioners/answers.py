"""JSON answers: extracts the JSON object from a model's text, validates it and flattens it to one text."""

import json
from typing import Any

# JSON Schema (https://json-schema.org/draft/2020-12) of the answers to `json` prompts. `_refuse_mismatch` supports only
# the keywords that are used here.
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
    """The JSON object in a model's answer, without the text around it.

    Args:
        text: text of the model, possibly fenced as Markdown code or after a sentence.

    Raises:
        ValueError: if the text contains no complete object, or the object does not match `SCHEMA`.
    """
    start = text.find("{")
    if start < 0:
        raise ValueError("the answer contains no JSON object")
    try:
        answer, _ = json.JSONDecoder().raw_decode(text, start)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"the answer's JSON is broken ({error})") from None
    _refuse_mismatch(answer, SCHEMA, "the answer")
    return dict(answer)


def flatten_answer(answer: dict[str, Any]) -> str:
    """Flattens an answer to one text: `key: value` for each key with a value, in the schema's order.

    Keys that are not in the schema are ignored.

    >>> flatten_answer({"topic": "cooking", "mood": "", "tags": ["soup", "home"]})
    'topic: cooking; tags: soup, home'
    """
    parts = []
    for key in SCHEMA["properties"]:
        value = answer.get(key, "")
        text = ", ".join(filter(None, map(str.strip, value))) if isinstance(value, list) else value
        if text.strip():
            parts.append(f"{key.replace('_', ' ')}: {text.strip()}")
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
