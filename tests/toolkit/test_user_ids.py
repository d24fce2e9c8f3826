"""Ids of users in an Arrow array behave like a list of strings."""

import numpy as np
import pyarrow as pa
import pytest

from toolkit.user_ids import UserIds

NAMES = ["u1", "", "ü", "u1", "user with a long id"]


@pytest.fixture(
    params=[list, tuple, pa.array, lambda names: pa.chunked_array([names[:2], [], names[2:]])]
)
def ids(request: pytest.FixtureRequest) -> UserIds:
    return UserIds(request.param(NAMES))


def test_it_is_a_sequence_of_strings(ids: UserIds) -> None:
    assert len(ids) == 5
    assert list(ids) == NAMES
    assert [ids[index] for index in (0, -1, np.int64(2))] == ["u1", NAMES[-1], "ü"]
    assert list(ids[1:3]) == NAMES[1:3]
    assert isinstance(ids[1:3], UserIds)
    with pytest.raises(IndexError):
        ids[5]


def test_it_equals_what_has_the_same_strings(ids: UserIds) -> None:
    assert ids == NAMES
    assert ids == UserIds(NAMES)
    assert ids != NAMES[:-1]
    assert ids != [*NAMES[:-1], "other"]
    assert ids != "u1"


def test_it_finds_ids(ids: UserIds) -> None:
    assert "ü" in ids and "v" not in ids and 1 not in ids
    assert ids.index("u1") == 0
    assert ids.index("u1", 1) == 3
    with pytest.raises(ValueError, match="'v' is not a user"):
        ids.index("v")
    with pytest.raises(ValueError, match="'ü' is not a user"):
        ids.index("ü", 3)


def test_arrow_reads_it_without_python_strings(ids: UserIds) -> None:
    assert pa.array(ids, pa.string()).equals(pa.array(NAMES))
    assert pa.array(ids).to_pylist() == NAMES


def test_it_takes_some(ids: UserIds) -> None:
    assert ids.take(np.array([3, 2])) == ["u1", "ü"]
    assert ids.where(np.array([True, False, True, False, False])) == ["u1", "ü"]
    assert ids.where(np.ones(5, dtype=bool)) is ids
