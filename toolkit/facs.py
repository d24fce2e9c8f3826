"""Action units (AUs) of the Facial Action Coding System: numbers, names, muscles and phrases, from `facs.yaml`.

Labels of an AU are 0 (inactive), 1 (active) and 9 (missing). Intensities are 0 to 5 (FACS writes A to E for 1 to 5).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from toolkit.errors import UserError
from toolkit.yaml_files import read_yaml

INACTIVE, ACTIVE, MISSING = 0, 1, 9  # labels
HIGHEST_INTENSITY = 5
ACTIVE_FROM = 2  # intensity from which published results on DISFA count an AU as active
FILE = Path(__file__).with_name("facs.yaml")

_UNIT_KEYS = ("name", "muscles", "active", "inactive")
# Keys of `face`, and the fields that each must contain.
_FACE_KEYS = {
    "unit": ("{phrase}",),
    "active": ("{phrases}",),
    "neutral": (),
    "separator": (),
    "last_separator": (),
}


@dataclass(frozen=True)
class ActionUnit:
    """An AU of FACS.

    Args:
        number: its number in FACS.
        name: its name in FACS, in lower case.
        muscles: the muscle that acts, followed by the part of it, or by another muscle that acts with it.
        active: phrase for its visible effect.
        inactive: phrase for the absence of this effect.
    """

    number: int
    name: str
    muscles: tuple[str, ...]
    active: str
    inactive: str

    @property
    def column(self) -> str:
        """Its name in tables, as OpenFace and py-feat write it: `AU01`."""
        return column(self.number)

    def phrase(self, active: bool) -> str:
        """The phrase for one of its two states."""
        return self.active if active else self.inactive


@dataclass(frozen=True)
class Facs:
    """The AUs in one language, and texts about a face.

    Args:
        units: the AUs by number, ascending.
        face: templates of texts; the keys are those of `face` in `facs.yaml`.
    """

    units: Mapping[int, ActionUnit]
    face: Mapping[str, str]

    def unit_text(self, number: int, *, active: bool) -> str:
        """The text of one AU: name, muscles and phrase.

        >>> facs().unit_text(12, active=True)
        'lip corner puller (zygomaticus major): the lip corners are pulled up.'
        """
        unit = self.units[number]
        return _filled(
            self.face["unit"],
            name=unit.name,
            muscles=", ".join(unit.muscles),
            phrase=unit.phrase(active),
        )

    def face_text(self, active: Iterable[int]) -> str:
        """The text of a face: the phrases of its active AUs in ascending order, or that it is neutral.

        >>> facs().face_text([12, 6])
        'In this face, the cheeks are raised and the lip corners are pulled up.'
        >>> facs().face_text([])
        'The face is neutral.'
        """
        phrases = [self.units[number].active for number in sorted(set(active))]
        if not phrases:
            return self.face["neutral"]
        *first, last = phrases
        if first:
            last = f"{self.face['separator'].join(first)}{self.face['last_separator']}{last}"
        return _filled(self.face["active"], phrases=last)

    def stated(self, text: str) -> dict[int, bool]:
        """The AUs of which a text states a phrase, and whether it states that they are active.

        An AU of which the text contains both phrases is left out. Text is compared in lower case.

        >>> facs().stated("In this face, the nose is wrinkled and the lips are parted.")
        {9: True, 25: True}
        """
        text = text.lower()
        states = {}
        for number, unit in self.units.items():
            active, inactive = unit.active.lower() in text, unit.inactive.lower() in text
            if active != inactive:
                states[number] = active
        return states


def column(number: int) -> str:
    """The name of an AU in tables.

    >>> column(1), column(25)
    ('AU01', 'AU25')
    """
    return f"AU{number:02d}"


@cache
def facs(file: Path | None = None) -> Facs:
    """The AUs in English, or in the language of a file.

    Args:
        file: YAML file with the keys `units` and `face` of `toolkit/facs.yaml`.

    Raises:
        UserError: if the file cannot be read, lacks an AU or a key, has an unknown one, or if one phrase contains
            another, so that texts would be ambiguous.
    """
    where = file or FILE
    values = read_yaml(where)
    units, face = (_mapping(values.get(key), key, where=where) for key in ("units", "face"))
    _expect_keys(units, known_units() if file else units, "units", where=where)
    _expect_keys(face, _FACE_KEYS, "face", where=where)
    for key, needed in _FACE_KEYS.items():
        _expect_text(face[key], f"face.{key}", needed, where=where)
    read = {number: _unit(number, units[number], where=where) for number in sorted(units)}
    _refuse_ambiguous(read, where=where)
    return Facs(read, face)


@cache
def known_units() -> tuple[int, ...]:
    """The numbers of all AUs in `facs.yaml`, ascending."""
    return tuple(sorted(read_yaml(FILE)["units"]))


@cache
def dataset_units() -> dict[str, tuple[int, ...]]:
    """The AUs that a dataset codes, in the order of its label files: `bp4d`, `disfa` and `disfa-all`."""
    return {name: tuple(units) for name, units in read_yaml(FILE)["datasets"].items()}


def checked_units(numbers: Sequence[int], *, where: str) -> tuple[int, ...]:
    """AU numbers that FACS knows, without repetitions.

    Raises:
        UserError: if there is none, one is unknown, or one occurs twice.
    """
    known = known_units()
    unknown = [number for number in numbers if number not in known]
    if unknown or not numbers:
        problem = f"AU {unknown[0]} is unknown" if unknown else "no AU is listed"
        raise UserError(f"{where}: {problem}; use numbers out of {', '.join(map(str, known))}")
    repeated = [number for number in numbers if list(numbers).count(number) > 1]
    if repeated:
        raise UserError(f"{where}: AU {repeated[0]} is listed twice; list each AU once")
    return tuple(numbers)


def _filled(template: str, **texts: str) -> str:
    # Not str.format, which would evaluate attributes that a template from elsewhere names.
    for name, text in texts.items():
        template = template.replace(f"{{{name}}}", text)
    return template


def _unit(number: int, values: Any, *, where: Path) -> ActionUnit:
    key = f"units.{number}"
    values = _mapping(values, key, where=where)
    _expect_keys(values, _UNIT_KEYS, key, where=where)
    muscles = values["muscles"]
    for name in ("name", "active", "inactive"):
        _expect_text(values[name], f"{key}.{name}", (), where=where)
    if not isinstance(muscles, list) or not all(isinstance(m, str) for m in muscles) or not muscles:
        raise UserError(f"{where}: {key}.muscles must be a list of names, found {muscles!r:.60}")
    return ActionUnit(number, values["name"], tuple(muscles), values["active"], values["inactive"])


def _refuse_ambiguous(units: Mapping[int, ActionUnit], *, where: Path) -> None:
    phrases = [p.lower() for unit in units.values() for p in (unit.active, unit.inactive)]
    for index, phrase in enumerate(phrases):
        others = phrases[:index] + phrases[index + 1 :]
        containing = next((other for other in others if phrase in other), None)
        if containing:
            raise UserError(
                f"{where}: the phrase {phrase!r} is contained in {containing!r}, so a text would be ambiguous; "
                "reword one of them"
            )


def _mapping(values: Any, key: str, *, where: Path) -> dict[Any, Any]:
    if not isinstance(values, dict):
        raise UserError(f"{where}: {key} must hold keys and values, found {values!r:.60}")
    return values


def _expect_keys(values: Iterable[Any], expected: Iterable[Any], key: str, *, where: Path) -> None:
    missing = [name for name in expected if name not in set(values)]
    unknown = [name for name in values if name not in set(expected)]
    if missing or unknown:
        problem = f"lacks {missing[0]}" if missing else f"has the unknown key {unknown[0]!r:.60}"
        raise UserError(f"{where}: {key} {problem}; use the keys of toolkit/facs.yaml")


def _expect_text(value: Any, key: str, needed: tuple[str, ...], *, where: Path) -> None:
    if not isinstance(value, str) or not value:
        raise UserError(f"{where}: {key} must be a text, found {value!r:.60}")
    for field in needed:
        if field not in value:
            raise UserError(f"{where}: {key} must contain {field}, found {value!r:.60}")
