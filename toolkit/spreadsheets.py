"""Makes tables safe for spreadsheet programs, which would run some texts as formulas."""

import pyarrow as pa
import pyarrow.compute as pc

# Beginnings that Excel, LibreOffice and Google Sheets run: =, +, -, @ (also full-width), tab and carriage return.
_FORMULA = r"^[\s\x00]*[=+\-@\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]|^[\t\r]"
_NUMBER = r"^[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?$"


def defused(table: pa.Table) -> pa.Table:
    """Adds an apostrophe before every text that begins like a formula; plain numbers are kept.

    Use it for files that people open. Arrow and JSON files for programs are not changed.

    Args:
        table: any table; columns of other types than strings are kept.
    """
    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            column = table.column(index)
            risky = pc.and_not(
                pc.match_substring_regex(column, _FORMULA),
                pc.match_substring_regex(column, _NUMBER),
            )
            if pc.any(risky, min_count=0).as_py():
                apostrophe, nothing = (pa.scalar(text, field.type) for text in ("'", ""))
                quoted = pc.binary_join_element_wise(apostrophe, column, nothing)
                table = table.set_column(index, field, pc.if_else(risky, quoted, column))
    return table
