"""Planted faults against findings: does `prep audit` find a fault where it is, and nothing where it is not?

    python -m benchmarks.planted [--work FOLDER]

Each dataset is the clean one with one fault. The clean one has 600 users with 12 to 24 interactions over 24 weeks, all at
different times, items without a repeat, and no change of popularity.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

import prep
from prep import FeaturesConfig, PrepConfig
from prep.steps import manifest
from toolkit import schema
from toolkit.store import Table

USERS, ITEMS, WEEKS, WIDTH, SIDE = 600, 500, 24, 16, 64
START, DAY, WEEK = 1_577_836_800_000, 86_400_000, 7 * 86_400_000  # from 2020-01-01, in milliseconds


@dataclass
class World:
    """A dump to be, with the content of its items.

    Args:
        log: columns user, item (0..N-1) and time (ms); rows in the file's order.
        titles: N titles.
        covers: (N, side, side) grey pictures; None for a dump without covers.
        states: (N, D) features; None without.
        draw: random numbers of the faults.
    """

    log: pd.DataFrame
    titles: list[str]
    covers: NDArray[np.uint8] | None = None
    states: NDArray[np.float32] | None = None
    draw: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))


def clean(seed: int = 0) -> World:
    """The dataset without a fault."""
    draw = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        length = int(draw.integers(12, WEEKS + 1))
        weeks = np.linspace(0, WEEKS - 1, length).round()
        times = START + weeks * WEEK + draw.integers(0, DAY, length)
        items = draw.choice(ITEMS, length, replace=False)
        rows += list(zip([user] * length, items, times.astype(np.int64), strict=True))
    log = pd.DataFrame(rows, columns=["user", "item", "time"])
    words = [f"{chr(97 + i % 26)}{i} thing {i * 7919 % 1000}" for i in range(ITEMS)]
    return World(log.sample(frac=1, random_state=seed, ignore_index=True), words)


def with_covers() -> World:
    """The clean dataset with covers of smooth random patterns, all different."""
    world = clean()
    coarse = world.draw.integers(0, 256, (ITEMS, 8, 8)).astype(np.uint8)
    world.covers = np.stack(
        [cv2.resize(c, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for c in coarse]
    )
    return world


def with_states() -> World:
    """The clean dataset with a tower of random states."""
    world = clean()
    world.states = world.draw.normal(1, 1, (ITEMS, WIDTH)).astype(np.float32)
    return world


def _ranked(log: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Position of each row among its user's from 0, and from the end from 0, by time."""
    by_time = log.sort_values("time").groupby("user")
    return by_time.cumcount().reindex(log.index), by_time.cumcount(ascending=False).reindex(
        log.index
    )


def ties_by_id(world: World) -> None:
    """Pairs of neighbouring interactions get one time, and the file is sorted by item id."""
    place, to_end = _ranked(world.log)
    pair = world.log.groupby(["user", place // 2]).time.transform("min")
    world.log["time"] = pair.where(to_end > 1, world.log.time)
    world.log = world.log.sort_values(["user", "item"])


def no_times(world: World) -> None:
    """The file has no times; its rows are in random order."""
    world.log["time"] = pd.NA


def late_items(world: World) -> None:
    """Four percent of the items exist only in the last week."""
    last = world.log.index[world.log.time >= START + (WEEKS - 1) * WEEK][:20]
    world.log.loc[last, "item"] = ITEMS + np.arange(len(last))
    world.titles += [f"late {i}" for i in range(len(last))]


def cold_targets(world: World) -> None:
    """Every fifth user ends with an item that nobody had before."""
    ends = world.log.index[(_ranked(world.log)[1] == 0) & (world.log.user % 5 == 0)]
    world.log.loc[ends, "item"] = ITEMS + np.arange(len(ends))
    world.titles += [f"cold {i}" for i in range(len(ends))]


def duplicated_rows(world: World) -> None:
    """One row in twenty comes twice."""
    world.log = pd.concat([world.log, world.log[::20]], ignore_index=True)


def repeats(world: World) -> None:
    """Users come back to their first item halfway."""
    place, _ = _ranked(world.log)
    first = world.log[place == 0].set_index("user").item
    half = place == 6
    world.log.loc[half, "item"] = world.log.user[half].map(first)


def leakage(world: World) -> None:
    """Each user is active at another time."""
    world.log["time"] += world.log.user * DAY


def drift(world: World) -> None:
    """In the first half of the time one half of the items is popular, in the second the other."""
    early = world.log.time < START + WEEKS // 2 * WEEK
    moved = world.draw.random(len(world.log)) < 0.8
    half = ITEMS // 2
    world.log["item"] = world.log.item.where(
        ~moved, world.log.item % half + np.where(early, 0, half)
    )
    world.log = world.log.drop_duplicates(["user", "item"])


def long_user(world: World) -> None:
    """One user has almost every item."""
    times = START + world.draw.integers(0, WEEKS * WEEK - WEEK, ITEMS - 20)
    world.log = _with(world.log, USERS, world.draw.permutation(ITEMS)[: len(times)], times)


def burst(world: World) -> None:
    """One user has sixty items within one second."""
    moment = START + 5 * WEEK + 10 * DAY + 1000 * np.arange(1)
    known = set(world.log.item[world.log.user == 0])
    items = [item for item in range(ITEMS) if item not in known][:60]
    world.log = _with(world.log, 0, np.array(items), moment // 1000 * 1000 + np.arange(60))


def _with(log: pd.DataFrame, user: int, items: NDArray[Any], times: NDArray[Any]) -> pd.DataFrame:
    more = pd.DataFrame({"user": user, "item": items, "time": times})
    return pd.concat([log, more], ignore_index=True)


def times_of_1970(world: World) -> None:
    """The first times of twenty users are zero seconds and some milliseconds."""
    firsts = (_ranked(world.log)[0] == 0) & (world.log.user < 20)
    world.log.loc[firsts, "time"] = np.arange(1, firsts.sum() + 1)


def times_apart(world: World) -> None:
    """The last times of five users are ten years later."""
    ends = (_ranked(world.log)[1] == 0) & (world.log.user < 5)
    world.log.loc[ends, "time"] += 3650 * DAY


def one_time(world: World) -> None:
    """All interactions have one time."""
    world.log["time"] = START + 1


def day_clock(world: World) -> None:
    """The clock counts days."""
    world.log["time"] = world.log.time // DAY * DAY


def same_titles(world: World) -> None:
    """Six items have the title of another."""
    world.titles[100:106] = world.titles[:6]


def like_titles(world: World) -> None:
    """Six items have the title of another, in capitals and with punctuation."""
    world.titles[100:106] = [f"{title.upper()}!" for title in world.titles[:6]]


def near_covers(world: World) -> None:
    """Six items have the cover of another, a little brighter."""
    assert world.covers is not None
    world.covers[100:106] = np.clip(world.covers[:6] * 0.9 + 20, 0, 255)


def near_states(world: World) -> None:
    """Six items have nearly the state of another."""
    assert world.states is not None
    world.states[100:106] = world.states[:6] + world.draw.normal(0, 0.01, (6, WIDTH))


def collapsed_states(world: World) -> None:
    """All states are nearly one vector."""
    assert world.states is not None
    world.states[:] = world.states[0] + world.draw.normal(0, 0.001, world.states.shape)


@dataclass(frozen=True)
class Fault:
    """A fault and the kinds of its findings.

    Args:
        plant: changes a world.
        kinds: kinds of findings, and no others.
        fitness: what the verdict is.
        world: the dataset without it.
    """

    plant: Callable[[World], None]
    kinds: frozenset[str]
    fitness: str = "caution"
    world: Callable[[], World] = clean

    @property
    def name(self) -> str:
        """Name of the fault."""
        return self.plant.__name__


def nothing(world: World) -> None:
    """No fault."""


FAULTS = [
    Fault(nothing, frozenset(), "fit"),
    Fault(ties_by_id, frozenset({"simultaneous"}), "unfit"),
    Fault(no_times, frozenset({"no_times"})),
    Fault(late_items, frozenset({"new_items"})),
    Fault(cold_targets, frozenset({"cold_targets", "new_items"})),
    Fault(duplicated_rows, frozenset({"identical_interactions"})),
    Fault(repeats, frozenset({"repeated_items"}), "fit"),
    Fault(leakage, frozenset({"leave_one_out"})),
    Fault(drift, frozenset({"popularity_drift"})),
    Fault(long_user, frozenset({"long_users"})),
    Fault(burst, frozenset({"bursts"}), "fit"),
    Fault(times_of_1970, frozenset({"implausible_time"})),
    Fault(times_apart, frozenset({"times_apart"})),
    Fault(one_time, frozenset({"one_time", "simultaneous"})),
    Fault(day_clock, frozenset({"coarse_clock"})),
    Fault(same_titles, frozenset({"identical_titles"}), "fit"),
    Fault(like_titles, frozenset({"near_titles"}), "fit"),
    Fault(nothing, frozenset(), "fit", with_covers),
    Fault(near_covers, frozenset({"near_covers"}), "fit", with_covers),
    Fault(nothing, frozenset(), "fit", with_states),
    Fault(near_states, frozenset({"near_states"}), "fit", with_states),
    Fault(collapsed_states, frozenset({"collapsed_states"}), "caution", with_states),
]


def build(world: World, folder: Path) -> Path:
    """Writes a world as a dump and ingests it. Returns the dataset's folder."""
    dump, out = folder / "dump", folder / "dataset"
    dump.mkdir(parents=True)
    log = world.log.rename(columns={"user": "uid", "item": "iid", "time": "ts"})
    log.to_csv(dump / "log.csv", index=False)
    items = pd.DataFrame({"iid": range(len(world.titles)), "name": world.titles})
    items.to_csv(dump / "items.csv", index=False)
    timed = "" if log.ts.isna().all() else ",time=ts"
    prep.ingest(dump, out, PrepConfig(columns=f"user=uid,item=iid{timed},title=name"))
    if world.covers is not None:
        _store_covers(world.covers, out)
    if world.states is not None:
        np.save(dump / "states.npy", world.states)
        (dump / "ids.txt").write_text("\n".join(map(str, range(ITEMS))))
        features = FeaturesConfig(str(dump / "states.npy"), ids=str(dump / "ids.txt"))
        prep.encode(out, PrepConfig(features={"tower": features}))
    return out


def _store_covers(covers: NDArray[np.uint8], out: Path) -> None:
    rows = [
        {"item_id": str(item), "image": cv2.imencode(".jpg", cover)[1].tobytes(), "status": "ok"}
        for item, cover in enumerate(covers)
    ]
    Table(out / "covers").append(pa.Table.from_pylist(rows, schema=schema.COVERS))
    manifest.record_step(out, "covers", {})


def audit(fault: Fault, folder: Path) -> dict[str, Any]:
    """Plants a fault, builds the dataset in a folder and audits it."""
    world = fault.world()
    fault.plant(world)
    return prep.audit(build(world, folder))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="planted faults against findings of prep audit")
    parser.add_argument("--work", type=Path, help="folder for the datasets (default: temporary)")
    work = parser.parse_args().work
    print("| planted | expected findings | found | verdict | right |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for number, fault in enumerate(FAULTS):
            with redirect_stdout(sys.stderr):
                facts = audit(fault, (work or Path(temporary)) / f"{number:02}-{fault.name}")
            found = {finding["kind"] for finding in facts["findings"]}
            cells = [", ".join(sorted(kinds)) or "none" for kinds in (fault.kinds, found)]
            fitness = facts["verdict"]["fitness"]
            right = found == fault.kinds and fitness == fault.fitness
            name = f"{fault.name} ({fault.world.__name__})"
            print(f"| {name} | {cells[0]} | {cells[1]} | {fitness} | {'yes' if right else 'NO'} |")


if __name__ == "__main__":
    main()
