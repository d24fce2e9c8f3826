"""No CSV cell for people is a formula; numeric ids and all other formats are unchanged."""

import io
import json

import pyarrow as pa
import pyarrow.csv

from models.recommend import _WRITERS
from toolkit import schema
from toolkit.spreadsheets import defused

FORMULAS = [
    "=1+1",
    "+SUM(A1)",
    "-2+3",
    "@cmd",
    "\t=1",
    "\r=1",
    " =1",
    "\uff1d1",
    '=HYPERLINK("http://x","y")',
]
HARMLESS = ["-5", "+5", "-1.5e-3", "a=1", "", None, "好", "'x"]


def test_formulas_become_text_and_numbers_stay():
    texts = FORMULAS + HARMLESS
    for type_ in (pa.string(), pa.large_string()):
        table = defused(pa.table({"t": pa.array(texts, type_), "n": range(len(texts))}))
        assert table.column("t").to_pylist() == ["'" + text for text in FORMULAS] + HARMLESS
        assert table.schema.field("t").type == type_
    plain = pa.table({"t": ["a"]})
    assert defused(plain) is plain


def test_recommendations_for_people_and_for_programs():
    row = {"user_id": "=u", "rank": 1, "item_id": "-7", "score": -0.5, "title": "=1+1"}
    table = pa.Table.from_pylist([row], schema=schema.USER_RECOMMENDATIONS)
    file = io.BytesIO()
    _WRITERS[".csv"](file, table)
    (found,) = pyarrow.csv.read_csv(io.BytesIO(file.getvalue())).to_pylist()
    assert found == row | {"user_id": "'=u", "item_id": -7, "title": "'=1+1"}
    file = io.BytesIO()
    _WRITERS[".jsonl"](file, table)
    assert json.loads(file.getvalue()) == row
