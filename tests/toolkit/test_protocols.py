"""Protocols: every named one against a slow reference from its definition, on random logs with equal times."""

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tiny_dataset import write_dataset

from toolkit import Evaluation, Splits, UserError, open_dataset
from toolkit.cuts import LeaveOneOut, TimeCut
from toolkit.histories import UserHistories
from toolkit.own_protocols import as_protocol
from toolkit.protocols import NAMED, Mask, Protocol, Ranked, Targets
from toolkit.splits import split_histories

ITEMS = 60
L = 4
LEAVE_ONE_OUT = ("paper", "clean", "unmasked", "cold", "warm-3", "new-item", "new-item-joint")
IN_TIME = ("time", "time-successive", "time-random")
Log = list[list[tuple[int, int]]]  # of each user, (time, item) in order


def random_log(seed: int, *, moments: int = 40, users: int = 50) -> Log:
    """Users come and go: each lives in a part of the time, and items appear late, so some targets are cold."""
    rng = np.random.default_rng(seed)
    log = []
    for _ in range(users):
        first = rng.integers(0, moments - 2)
        times = np.sort(rng.integers(first, moments, size=rng.integers(1, 15)))
        log.append(
            [
                (int(t), int(rng.integers(1, ITEMS // 2 + t * ITEMS // (2 * moments) + 1)))
                for t in times
            ]
        )
    return log


def histories_of(log: Log) -> UserHistories:
    flat = [event for history in log for event in history]
    bounds = np.cumsum([0, *map(len, log)])
    items = np.array([item for _, item in flat], dtype=np.int32)
    times = np.array([time for time, _ in flat], dtype=np.int64)
    return UserHistories(items, bounds, [f"u{user}" for user in range(len(log))], times)


def splits_of(log: Log, protocol: Any, max_len: int = L) -> Splits:
    return split_histories(histories_of(log), items=ITEMS, protocol=protocol, max_len=max_len)


class Expected(NamedTuple):
    """What the definitions say, in plain Python."""

    train: dict[str, list[int]]
    targets: dict[str, list[tuple[str, int]]]  # by split: user, position in the history
    catalogue: dict[str, set[int]]  # by split, the items that occur by its end
    kept: dict[str, int]  # position of the first kept interaction


def leave_one_out(log: Log) -> Expected:
    kept = {f"u{u}": max(0, len(h) - (L + 3)) for u, h in enumerate(log) if len(h) >= 5}
    histories = {f"u{u}": [item for _, item in h] for u, h in enumerate(log)}
    train = {user: histories[user][first:-2] for user, first in kept.items()}
    every = {item for user, first in kept.items() for item in histories[user][first:]}
    targets = {
        split: [(user, len(histories[user]) - back) for user in kept]
        for split, back in (("valid", 2), ("test", 1))
    }
    return Expected(train, targets, {"valid": every, "test": every}, kept)


def moment(times: list[int], share: Fraction) -> int:
    return sorted(times)[int(share * len(times))]


def cut_in_time(log: Log, *, last: bool) -> Expected:
    """The definition with shares of a tenth."""
    users = {f"u{u}": h for u, h in enumerate(log) if len(h) >= 5}
    times = [time for h in users.values() for time, _ in h]
    test_at = moment(times, Fraction(9, 10))
    valid_at = moment([time for time in times if time < test_at], Fraction(9, 10))
    train: dict[str, list[int]] = {}
    kept: dict[str, int] = {}
    targets: dict[str, list[tuple[str, int]]] = {"valid": [], "test": []}
    catalogue: dict[str, set[int]] = {"valid": set(), "test": set()}
    for user, history in users.items():
        before = [item for time, item in history if time < valid_at]
        kept[user] = max(0, len(before) - (L + 1))
        if len(before[kept[user] :]) >= 2:
            train[user] = before[kept[user] :]
        for split, begin, end in (("valid", valid_at, test_at), ("test", test_at, max(times) + 1)):
            inside = [p for p, (time, _) in enumerate(history) if begin <= time < end and p > 0]
            targets[split] += [(user, p) for p in (inside[-1:] if last else inside)]
            catalogue[split] |= {item for time, item in history[kept[user] :] if time < end}
    return Expected(train, targets, catalogue, kept)


def rows_of(evaluation: Evaluation) -> list[tuple[str, int]]:
    """The user and the item of each target."""
    users = [evaluation.user_ids[user] for user in evaluation.users]
    return list(zip(users, evaluation.targets.tolist(), strict=True))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", [*LEAVE_ONE_OUT, "time", "time-successive"])
def test_each_protocol_is_its_definition(name: str, seed: int) -> None:
    log = random_log(seed)
    protocol = as_protocol(name)
    made = splits_of(log, name)
    expected = (
        leave_one_out(log) if name in LEAVE_ONE_OUT else cut_in_time(log, last=name == "time")
    )
    assert made.user_ids == list(expected.train)
    assert [[i for i in row if i] for row in made.train.tolist()] == list(expected.train.values())
    counts = np.bincount([i for row in expected.train.values() for i in row], minlength=ITEMS + 1)
    assert made.train_counts.tolist() == counts.tolist()
    assert set(made.known.tolist()) == expected.catalogue["test"]
    least = {"warm-3": 3}.get(name, 0)
    most = 0 if name in ("cold", "new-item", "new-item-joint") else 1e9
    for split in ("valid", "test"):
        found = {"valid": made.valid, "test": made.test}[split]
        wanted = [
            (user, p)
            for user, p in expected.targets[split]
            if least <= counts[log[int(user[1:])][p][1]] <= most
        ]
        items = [log[int(user[1:])][p][1] for user, p in wanted]
        assert rows_of(found) == [
            (user, item) for (user, _), item in zip(wanted, items, strict=True)
        ]
        trained = set(np.flatnonzero(counts).tolist())
        ranked = {
            "occurring": expected.catalogue[split],
            "trained": trained | set(items),
            "alone": trained,
        }
        assert set(found.catalogue.tolist()) == ranked[protocol.catalogue.kind]
        for row, (user, p) in enumerate(wanted):
            history = [item for _, item in log[int(user[1:])]]
            assert [i for i in found.inputs[row].tolist() if i] == history[max(0, p - L) : p]
            first = {"kept": expected.kept[user], "history": 0, "none": p}[protocol.mask.kind]
            assert [i for i in found.masked(np.array([row]))[0].tolist() if i] == history[first:p]
            known = list(expected.train)
            assert found.rows[row] == (known.index(user) + 1 if user in known else 0)


@pytest.mark.parametrize("name", IN_TIME)
def test_no_training_interaction_is_at_or_after_the_cut(name: str) -> None:
    """Also with users who appear after it, and with interactions at the very moment of the cut."""
    rows: list[int] = []
    for seed in range(5):
        made = splits_of(random_log(seed), name)
        assert made.train_times is not None and made.valid.times is not None
        last_trained = made.train_times.max()
        valid, test = (
            evaluation.times[evaluation.stops]  # type: ignore[index]
            for evaluation in (made.valid, made.test)
        )
        assert last_trained < valid.min() and valid.max() < test.min()
        assert (made.train != 0).sum(1).min() >= 2
        assert (made.valid.inputs != 0).any(1).all() and (made.test.inputs != 0).any(1).all()
        rows += made.test.rows.tolist()
        for evaluation in (made.valid, made.test):
            stops, inputs = evaluation.stops, evaluation.input_times
            assert inputs is not None and evaluation.times is not None
            assert (inputs.max(1) <= evaluation.times[stops]).all()
    assert 0 in rows and any(rows)  # users without training, and with


def test_the_random_target_is_one_of_the_successive_ones_and_depends_on_the_seed_alone() -> None:
    log = random_log(3)
    every, drawn = splits_of(log, "time-successive").test, splits_of(log, "time-random").test
    assert drawn.user_ids == every.user_ids and len(drawn) == len(drawn.user_ids) < len(every)
    assert set(zip(drawn.users, drawn.stops, strict=True)) <= set(
        zip(every.users, every.stops, strict=True)
    )
    np.random.seed(1)
    again = splits_of(log, "time-random").test
    assert again.stops.tolist() == drawn.stops.tolist()
    other = splits_of(log, Protocol("other", split=TimeCut(target="random", seed=5))).test
    assert other.stops.tolist() != drawn.stops.tolist()
    drawn_often = [
        splits_of(log, Protocol("other", split=TimeCut(target="random", seed=seed))).test.stops
        for seed in range(60)
    ]
    assert set(np.concatenate(drawn_often)) == set(every.stops)  # each can be drawn


def test_all_three_cuts_in_time_train_on_the_same() -> None:
    log = random_log(4)
    first, *others = (splits_of(log, name) for name in IN_TIME)
    for other in others:
        assert other.train.tolist() == first.train.tolist()
        assert other.protocol.split.training == first.protocol.split.training
    assert TimeCut(test_share=0.2).training != TimeCut().training != LeaveOneOut().training


def test_the_training_catalogue_of_a_cut_in_time_has_no_later_item() -> None:
    """A loss over the whole catalogue must not learn of items that do not exist yet."""
    made = splits_of(random_log(5), "time")
    assert set(made.train[made.train > 0]) <= set(made.catalogue)
    assert len(made.catalogue) < len(made.valid.catalogue) < len(made.test.catalogue)
    assert made.known.tolist() == made.test.catalogue.tolist()


def test_interactions_at_one_moment_cannot_be_cut() -> None:
    log = [[(7, item) for item in range(1, 7)]] * 9
    with pytest.raises(UserError, match="no interaction is earlier than the test cut"):
        splits_of(log, "time")


def test_a_dataset_without_times_is_refused_with_what_to_do(tmp_path: Path) -> None:
    data = open_dataset(write_dataset(tmp_path, [[1, 2, 3, 4, 5]] * 4, items=6))
    with pytest.raises(
        UserError, match=r"20 interactions have no timestamp_ms; ingest .*leave-one-out"
    ):
        data.splits("time")


def test_times_out_of_order_are_refused_with_the_user() -> None:
    log = [[(t, t + 1) for t in range(6)], [(5, 1), (4, 2), *((t, 3) for t in range(6, 10))]]
    with pytest.raises(UserError, match="user 'u1' are not in the order of their times"):
        splits_of(log, "time")


def test_a_period_without_targets_is_refused() -> None:
    """Nobody is cold where every item has been trained on."""
    log = [[(t, 1 + t % 3) for t in range(8)] for _ in range(9)]
    made = splits_of(log, "cold")
    with pytest.raises(
        UserError, match=r"protocol cold: the test split has no target .*never occur"
    ):
        made.evaluation("test")


def test_names_are_values() -> None:
    assert as_protocol("warm-5") == Protocol("warm-5", targets=Targets(least=5))
    assert as_protocol("clean") is NAMED["clean"] and str(NAMED["clean"]) == "clean"
    assert NAMED["paper"].mask == Mask("kept", repeats=False)
    assert NAMED["new-item"].catalogue == Ranked("alone")
    settings = [str(protocol.settings) for protocol in NAMED.values()]
    assert len(set(settings)) == len(settings)
    assert as_protocol("time").record == "time"


@pytest.mark.parametrize("name", ["fair", "warm-0", "warm-", "warm-05", "Paper", "", "../paper"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"is unknown.*choose from paper, clean, .*warm-K"):
        as_protocol(name)


def test_a_protocol_of_the_users_own_is_its_content(tmp_path: Path) -> None:
    path = tmp_path / "last-fifth.yaml"
    path.write_text(
        "split: {kind: time, test_share: 0.2, target: successive}\nmask: none\n"
        "catalogue: trained\ntargets: {least: 2, most: 9}\n"
    )
    read = as_protocol(path)
    assert (
        read
        == as_protocol(str(path))
        == Protocol(
            "last-fifth",
            split=TimeCut(test_share=0.2, target="successive"),
            mask=Mask("none"),
            catalogue=Ranked("trained"),
            targets=Targets(2, 9),
        )
    )
    assert isinstance(read.record, dict) and as_protocol(read.record) == read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("splits: time", r"unknown key 'splits'; did you mean split\?"),
        ("split: {kind: time, share: 0.1}", "unknown key 'split.share'"),
        ("split: weekly", "split is 'weekly'; expected leave-one-out or time"),
        ("split: {kind: time, test_share: 1.5}", r"split.test_share is 1.5; .*below 1"),
        ("split: {kind: time, target: first}", "split.target is 'first'; expected last or successive or random"),
        ("split: {valid_share: 0.1}", "unknown key 'split.valid_share'"),
        ("mask: {kind: history, repeats: 1}", "mask.repeats is 1; expected true or false"),
        ("mask: [history]", r"mask is \['history'\]; expected keys and values"),
        ("catalogue: sampled", "catalogue is 'sampled'; expected occurring or trained or alone"),
        ("targets: cold", "targets is 'cold'; expected keys and values"),
        ("targets: {least: 3, most: 1}", "targets.most must be at least 3, got 1"),
        ("targets: {least: true}", "targets.least is True; expected a whole number"),
        ("name: paper", "paper is the name of a known protocol"),
        ("name: a/b", "name is 'a/b'; expected lower-case letters"),
        ("split: !!python/object:os.system {}", "not valid YAML"),
    ],
)  # fmt: skip
def test_a_file_is_read_strictly(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        as_protocol(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
