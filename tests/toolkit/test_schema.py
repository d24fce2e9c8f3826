"""The columns that prep writes and models reads."""

from typing import get_args

import pyarrow as pa
import pytest

from toolkit import UserError, schema


def items(**columns):
    default = {
        "item_id": pa.array(["a", "b"]),
        "item": pa.array([1, 2], pa.int32()),
        "title": pa.array(["one", ""]),
    }
    return pa.table({**default, **columns})


def test_a_good_table_comes_back_with_its_other_columns():
    table = items(likes=pa.array([1, None], pa.int64()))
    assert schema.validate(table, schema.ITEMS, where="items") is table


def test_an_absent_column_is_named():
    with pytest.raises(
        UserError, match=r"here: column 'title' is missing \(found: item_id, item\)"
    ):
        schema.validate(items().drop_columns("title"), schema.ITEMS, where="here")


def test_a_column_of_another_type_is_named():
    table = items(item=pa.array([1, 2], pa.int64()))
    with pytest.raises(UserError, match=r"here: column 'item' has type int64, expected int32"):
        schema.validate(table, schema.ITEMS, where="here")


def test_a_null_where_none_may_be_is_named():
    table = items(title=pa.array(["one", None]))
    with pytest.raises(UserError, match=r"here: column 'title' has 1 nulls, expected none"):
        schema.validate(table, schema.ITEMS, where="here")


def test_a_null_where_one_may_be_is_fine():
    rows = {"item_id": None, "step": "ingest", "error_class": "empty", "message": "x"}
    table = pa.Table.from_pylist([rows], schema=schema.ERRORS)
    assert schema.validate(table, schema.ERRORS, where="errors").num_rows == 1


def test_states_are_flat_float16():
    field = schema.states(7, 384).field("states")
    assert field.type.list_size == 7 * 384
    assert field.type.value_type == pa.float16()
    assert schema.states(2, 3).names == ["item_id", "item", "states"]


def test_the_words_of_a_status():
    assert get_args(schema.Status)[0] == "ok"
    assert len(set(get_args(schema.Status))) == 9
