"""Imports captions that were generated elsewhere; no model runs."""

from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from prep.captioners.captioning import SCHEMA
from toolkit import Dataset
from toolkit.errors import UserError
from toolkit.towers import IMPORTED


@dataclass(frozen=True)
class ImportedCaptions:
    """The work of imported captions: from items to rows.

    Args:
        file: name of the file.
        digest: SHA-256 of the file; the revision of rows without their own.
        captions: (R,) rows of the file, as strings: the columns of `SCHEMA`, "" for unknown values.
    """

    file: str
    digest: str
    captions: pa.Table = field(repr=False)

    def __call__(self, batch: pa.RecordBatch) -> pa.Table:
        """One row per item of the batch (`toolkit.schema.CAPTIONS` and `message`); `missing` without a caption."""
        ids = batch.column("item_id")
        rows = self._rows.take(pc.index_in(ids, value_set=self._rows["item_id"]))
        absent = {
            **self._provenance,
            "status": "missing",
            "message": f"{self.file} has no caption of it",
        }
        is_absent = pc.is_null(rows["item_id"])
        columns = {
            name: pc.if_else(is_absent, absent[name], rows[name]) if name in absent else rows[name]
            for name in SCHEMA.names
        }
        return pa.table({**columns, "item_id": ids}, schema=SCHEMA)

    @property
    def config(self) -> dict[str, str]:
        """The settings that the rows depend on."""
        return {"model": self._provenance["model"], "revision": self.digest}

    @property
    def _provenance(self) -> dict[str, str]:
        """The provenance of rows without their own."""
        return {"model": f"{IMPORTED}{self.file}", "revision": self.digest, "prompt_hash": ""}

    @cached_property
    def _rows(self) -> pa.Table:
        """(R,) the rows to store: a blank text is null, and its caption is `empty` unless its status says more."""
        given = self.captions
        is_blank = pc.equal(pc.utf8_trim_whitespace(given["text"]), "")
        by_text = pc.if_else(is_blank, "empty", "ok")
        status = pc.if_else(
            pc.is_in(given["status"], pa.array(["", "ok"])), by_text, given["status"]
        )
        reason = pc.if_else(
            is_blank, f"{self.file} has an empty caption of it", f"its status in {self.file}"
        )
        message = pc.if_else(pc.equal(given["message"], ""), reason, given["message"])
        columns = {
            "item_id": given["item_id"],
            "text": pc.if_else(is_blank, None, given["text"]),
            **{
                name: pc.if_else(pc.equal(given[name], ""), default, given[name])
                for name, default in self._provenance.items()
            },
            "status": status,
            "message": pc.if_else(pc.equal(status, "ok"), None, message),
        }
        return pa.table(columns, schema=SCHEMA)

    def refuse_unfit(self, data: Dataset) -> int:
        """Refuses captions of another dump, and several captions of one item.

        Returns:
            The number of captions whose item is not in the dataset.

        Raises:
            UserError: naming the item.
        """
        ids = self.captions["item_id"]
        known = ids.filter(pc.is_in(ids, data.items["item_id"]))
        counts = pc.value_counts(known.combine_chunks())
        twice = pc.index(pc.greater(counts.field("counts"), 1), True).as_py()
        if twice >= 0:
            item_id = counts.field("values")[twice].as_py()
            raise UserError(f"{self.file}: item {item_id!r} has several captions; keep one")
        if not len(known):
            example = f" (e.g. {ids[0].as_py()!r})" if len(ids) else ""
            raise UserError(
                f"{self.file}: none of its {len(ids):,} ids{example} is an item of the dataset "
                f"(e.g. {data.item_ids.ids[0]!r}); it belongs to another dump"
            )
        return len(ids) - len(known)
