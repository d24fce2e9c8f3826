"""Tables for spreadsheets: text that would be run as a formula becomes text."""

import pyarrow as pa
import pyarrow.compute as pc

# What Excel, LibreOffice and Google Sheets run: =, +, -, @, also in full width, tab and carriage return first.
_FORMULA = r"^[\s\x00]*[=+\-@\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]|^[\t\r]"
_NUMBER = r"^[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?$"


def defused(table: pa.Table) -> pa.Table:
    """The table with an apostrophe before every text that begins like a formula; plain numbers stay.

    For files that people open; what programs read goes into Arrow or JSON, where nothing is changed.

    Args:
        table: any; columns that are not strings stay as they are.
    """
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            column = table.column(place)
            risky = pc.and_not(
                pc.match_substring_regex(column, _FORMULA),
                pc.match_substring_regex(column, _NUMBER),
            )
            if pc.any(risky, min_count=0).as_py():
                apostrophe, nothing = (pa.scalar(text, field.type) for text in ("'", ""))
                quoted = pc.binary_join_element_wise(apostrophe, column, nothing)
                table = table.set_column(place, field, pc.if_else(risky, quoted, column))
    return table
