"""Counts modules ("rooms"), imports between them ("arrows"), import cycles and upward imports of each package.

    python -m benchmarks.house [--arrows] [--root FOLDER]

A room is a file or a folder directly inside a package. An arrow stands for one or more imports from one room to
another, including imports inside functions. The `layers` contracts of import-linter in pyproject.toml define which
direction is up. The `__init__.py` and `__main__.py` of a package are not counted.
"""

import argparse
import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("toolkit", "prep", "models")
DOORS = {"__init__", "__main__"}

Arrows = dict[tuple[str, str], int]  # from a room, to a room: how many imports


def rooms_of(package: Path) -> list[str]:
    """Names of the rooms of a package: its modules, and its folders that contain modules."""
    files = {path.stem for path in package.glob("*.py")} - DOORS
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    return sorted(files | folders)


def imported(source: Path, package: str) -> Iterator[str]:
    """Dotted names under a package that a file imports, with the depth of the import statement."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.startswith(f"{package}."))


def arrows_of(package: Path) -> Arrows:
    """The arrows between the rooms of a package."""
    rooms, arrows = set(rooms_of(package)), {}
    for source in sorted(package.rglob("*.py")):
        here = source.relative_to(package).parts[0].removesuffix(".py")
        for name in imported(source, package.name):
            there = name.split(".")[1]
            if here in rooms and there in rooms and here != there:
                arrows[here, there] = arrows.get((here, there), 0) + 1
    return arrows


def circles_of(rooms: list[str], arrows: Arrows) -> list[list[str]]:
    """Sets of at least two rooms in which each room imports every other, directly or indirectly."""
    reached = {room: {there for here, there in arrows if here == room} for room in rooms}
    for middle in rooms:
        for room in rooms:
            if middle in reached[room]:
                reached[room] |= reached[middle]
    circles = {
        tuple(sorted(other for other in rooms if other in reached[room] and room in reached[other]))
        for room in rooms
        if room in reached[room]
    }
    return sorted(map(list, circles))


def floors_of(project: Path, package: str) -> dict[str, int]:
    """The layer of each room, 0 at the top, from the `layers` contract of its package; empty without a contract."""
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    for contract in settings["tool"]["importlinter"]["contracts"]:
        if contract.get("containers") == [package]:
            return {
                room.strip(" ()"): floor
                for floor, rooms in enumerate(contract["layers"])
                for room in rooms.replace("|", ":").split(":")
            }
    return {}


def arrows_up(arrows: Arrows, floors: dict[str, int]) -> list[tuple[str, str]]:
    """Imports from a lower to a higher layer."""
    return [
        (here, there)
        for here, there in arrows
        if here in floors and there in floors and floors[there] < floors[here]
    ]


def main() -> None:
    """Prints a table of the packages, then cycles and upward imports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--root", type=Path, default=Path(__file__).parents[1], help="folder of a checkout"
    )
    parser.add_argument("--arrows", action="store_true", help="also list the arrows")
    options = parser.parse_args()
    print("| package | rooms | arrows | circles | arrows up |\n|---|---|---|---|---|")
    notes = []
    for name in PACKAGES:
        rooms, arrows = rooms_of(options.root / name), arrows_of(options.root / name)
        circles = circles_of(rooms, arrows)
        up = arrows_up(arrows, floors_of(options.root, name))
        print(f"| {name} | {len(rooms)} | {len(arrows)} | {len(circles)} | {len(up)} |")
        notes += [f"{name}: circle of {', '.join(circle)}" for circle in circles]
        notes += [f"{name}: {here} imports {there}, which is above it" for here, there in up]
        if options.arrows:
            notes += [f"{name}: {here} -> {there} ({n})" for (here, there), n in arrows.items()]
    print("\n".join(["", *notes] if notes else []))


if __name__ == "__main__":
    main()
