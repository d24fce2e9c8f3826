"""The table of predictions in each format: equal after reading, absent until complete, harmless in spreadsheets."""

import pandas as pd
import pytest

from models.facial.table import read_rows, table_schema, write_rows
from toolkit import UserError

SCHEMA = table_schema([1, 12], has_au_texts=True, has_face_texts=True)
FULL = {
    **{"input": "a, b\n.mp4", "frame": 3, "timestamp": 0.1, "face_id": 0, "success": 1},
    **{"face_x": 1 / 3, "face_y": 2.0, "face_w": 8.5, "face_h": 9.0, "confidence": 0.75},
    **{"AU01_p": 0.1, "AU01_c": 0, "AU12_p": 0.9, "AU12_c": 1},
    **{"AU01_text": 'brow "at rest"', "AU12_text": "ein Lächeln", "face_text": ""},
    "status": "ok",
}
EMPTY = dict.fromkeys(FULL) | {"input": "a", "frame": 4, "timestamp": 0.2, "success": 0, "status": "empty"}  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".CSV"])
def test_rows_come_back_equal(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr("models.facial.table._ROWS_AT_ONCE", 2)
    rows = [FULL, EMPTY, FULL | {"frame": 5}, EMPTY | {"frame": 6}, FULL | {"frame": 7}]
    sparse = [{key: value for key, value in row.items() if value is not None} for row in rows]
    path = tmp_path / f"rows{suffix}"
    assert write_rows(iter(sparse), path, SCHEMA) == 5
    assert list(read_rows(path, SCHEMA)) == rows
    assert write_rows([], path, SCHEMA) == 0
    assert list(read_rows(path, SCHEMA)) == []


def test_users_read_the_files_with_pandas(tmp_path):
    for suffix, read in ((".csv", pd.read_csv), (".parquet", pd.read_parquet)):
        write_rows([FULL, EMPTY], tmp_path / f"rows{suffix}", SCHEMA)
        table = read(tmp_path / f"rows{suffix}")
        assert list(table) == list(FULL)
        assert table["AU12_c"].sum() == 1 and table["face_x"].isna().tolist() == [False, True]
    write_rows([FULL, EMPTY], tmp_path / "rows.jsonl", SCHEMA)
    lines = pd.read_json(tmp_path / "rows.jsonl", lines=True)
    assert lines["AU12_text"].tolist()[0] == "ein Lächeln"


def test_a_file_appears_when_it_is_complete(tmp_path):
    def broken():
        yield FULL
        assert not (tmp_path / "rows.csv").exists()
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_rows(broken(), tmp_path / "rows.csv", SCHEMA)
    assert list(tmp_path.iterdir()) == []


def test_texts_are_no_formulas_in_spreadsheets(tmp_path):
    write_rows([FULL | {"input": "=cmd()"}], tmp_path / "rows.csv", SCHEMA)
    assert (tmp_path / "rows.csv").read_text().splitlines()[1].startswith('"\'=cmd()"')


def test_other_suffixes_are_refused_before_any_row(tmp_path):
    def rows():
        pytest.fail("a row was computed")
        yield

    with pytest.raises(
        UserError, match=r"rows\.xlsx: .* written to \.csv, \.parquet, \.jsonl; change"
    ):
        write_rows(rows(), tmp_path / "rows.xlsx", SCHEMA)
