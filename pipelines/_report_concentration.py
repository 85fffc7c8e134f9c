"""How unevenly a release shares out its pairs, and how unevenly those were shared out that it was chosen from."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa

from ..schemas.errors import SqlError
from ..udfs.text import caption_key, caption_template
from ._catalog import Catalog
from ._concentration import CONCENTRATION, HOLDING, IN_CLUSTER, figures

# Pairs that nobody refused and that could be had: what `dedup` and `balance` chose from.
_REACHED = """
SELECT pair_id, domain, creator, caption, outcome = 'released' AS released FROM outcome
WHERE NOT withheld AND (outcome = 'released' OR stage IN ('dedup', 'balance', 'takedown'))
"""
_NAMED = """
CREATE OR REPLACE TEMP TABLE named AS
SELECT pair_id, released, domain, name_key(creator) AS creator, hash(caption)::VARCHAR AS caption,
       hash(template) AS template_id
FROM keyed
"""
_FIGURES = f"""
WITH counted AS (SELECT * FROM named WHERE released OR NOT $released), in_cluster AS ({IN_CLUSTER}),
     of_template AS (SELECT pair_id, template_id FROM named), holding AS ({HOLDING})
{CONCENTRATION}
"""
_BATCH_ROWS = 100_000


def concentration(catalog: Catalog) -> dict[str, dict[str, Any]]:
    """The figures of ``_concentration`` by kind of name, ``before`` `dedup` and ``after``, in the release.

    They are those that `balance` measured, but that what a takedown removed is gone, and that templates are equal ones.
    """
    _name(catalog)
    before = figures(catalog.dicts(_FIGURES, released=False))
    after = figures(catalog.dicts(_FIGURES, released=True))
    return {kind: {"before": before[kind], "after": after.get(kind)} for kind in before}


def _name(catalog: Catalog) -> None:
    """Make the table ``named``. Captions pass in large batches: as functions in SQL they get 2,048 rows at a time, and
    compiling the patterns for each takes four times as long as all the rest."""
    try:
        with catalog.connection.cursor() as reading:
            rows = reading.sql(_REACHED).to_arrow_reader(_BATCH_ROWS)
            fields = [field for field in rows.schema if field.name != "caption"]
            schema = pa.schema([*fields, pa.field("caption", pa.string()), pa.field("template", pa.string())])
            keyed = pa.RecordBatchReader.from_batches(schema, (_keyed(batch, schema) for batch in rows))
            catalog.connection.register("keyed", keyed)
            catalog.connection.execute(_NAMED)
            catalog.connection.unregister("keyed")
    except duckdb.Error as error:
        raise SqlError(catalog.root, str(error)) from error


def _keyed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    caption = batch.column("caption")
    made = {"caption": caption_key(caption), "template": caption_template(caption)}
    columns = [made[name] if name in made else batch.column(name) for name in schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
