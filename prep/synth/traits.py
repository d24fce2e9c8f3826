"""The hidden traits of items, by which users choose: what content means to the users of a world.

Without a taste of its own, a world has users who want the attributes themselves: a shape, a colour and a motion. A drawn
taste puts a random table between the two: each trait depends on two of the attributes. Platforms with the same taste
agree on what content means to users, whatever their items and users; platforms with different tastes do not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from numpy.random import Generator

Pair = tuple[str, str]


@dataclass(frozen=True)
class Traits:
    """The traits of an item as a function of its attributes.

    Args:
        tables: by trait, the two attributes that it depends on, and its value by the values of these two. A trait
            without a table is the attribute of the same name.
    """

    tables: Mapping[str, tuple[Pair, Mapping[Pair, str]]]

    @classmethod
    def draw(cls, attributes: Mapping[str, Sequence[str]], rng: Generator) -> "Traits":
        """Draws a table per attribute: over it and the attribute after it, with its values in equal numbers.

        Args:
            attributes: values by attribute, in a fixed order.
            rng: generator of the taste.
        """
        names = list(attributes)
        tables = {}
        for name, other in zip(names, [*names[1:], names[0]], strict=True):
            cells = list(product(attributes[name], attributes[other]))
            values = [cell[0] for cell in cells]
            drawn = [values[int(row)] for row in rng.permutation(len(cells))]
            tables[name] = ((name, other), dict(zip(cells, drawn, strict=True)))
        return cls(tables)

    def of(self, words: Mapping[str, str]) -> dict[str, str]:
        """The traits of an item with these attributes.

        >>> ATTRIBUTES_ALONE.of({"shape": "star", "colour": "red"})
        {'shape': 'star', 'colour': 'red'}
        """
        found = dict(words)
        for name, ((first, second), table) in self.tables.items():
            found[name] = table[words[first], words[second]]
        return found


ATTRIBUTES_ALONE = Traits({})
