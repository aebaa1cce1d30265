"""The one place that touches pyarrow: Parquet in, CSV out. No untyped value leaves it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from reports.errors import TableError

BATCH_ROWS: Final = 1 << 18
_KEYS: Final = ["scenario", "point"]


def row_count(file: Path) -> int:
    """Rows of a Parquet file, from its footer alone. Raises TableError."""
    with _open(file) as parquet:
        return int(parquet.metadata.num_rows)


def column_names(file: Path) -> tuple[str, ...]:
    """Columns of a Parquet file, from its footer alone. Raises TableError."""
    with _open(file) as parquet:
        return tuple(str(name) for name in parquet.schema_arrow.names)


def read_frame(file: Path) -> pd.DataFrame:
    """A small table whole. Raises TableError."""
    with _open(file) as parquet:
        try:
            frame: pd.DataFrame = parquet.read().to_pandas()
        except (pa.ArrowException, OSError) as cause:
            raise TableError(f"{file.name} is damaged ({_first_line(cause)})") from cause
        return frame


def frames(file: Path, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """A large table in pieces of at most BATCH_ROWS rows, scenario and point as categories. Raises TableError."""
    with _open(file, dictionary=_KEYS) as parquet:
        absent = [name for name in columns if name not in parquet.schema_arrow.names]
        if absent:
            raise TableError(f"{file.name} lacks the column{'s' if len(absent) > 1 else ''} {', '.join(absent)}")
        try:
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=list(columns)):
                frame: pd.DataFrame = batch.to_pandas()
                yield frame
        except (pa.ArrowException, OSError) as cause:
            raise TableError(f"{file.name} is damaged ({_first_line(cause)})") from cause


def write_parquet(frame: pd.DataFrame, target: Path) -> None:
    """A small table as a file of its own. (What pandas notes of itself is left out: the same cells give the same bytes.)"""
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None), target)


class CsvAppender:
    """Writes Parquet tables of one shape below one another into a CSV file, with a leading column `run`."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self._schema: pa.Schema | None = None
        self._writer: pa_csv.CSVWriter | None = None

    def append(self, file: Path, run: str) -> None:
        """Add all rows of `file`. Raises TableError where it is damaged or has other columns than the first."""
        with _open(file) as parquet:
            schema = parquet.schema_arrow.remove_metadata()
            if self._schema is None:
                self._schema = schema
                self._writer = pa_csv.CSVWriter(self.target, _with_run(schema))
            try:
                for batch in parquet.iter_batches(batch_size=BATCH_ROWS):
                    columns = [pa.array([run] * batch.num_rows, pa.string()), *batch.select(self._schema.names).columns]
                    assert self._writer is not None
                    self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_with_run(self._schema)))
            except (pa.ArrowException, KeyError, OSError) as cause:
                raise TableError(f"{file.name} of {run} cannot be copied to CSV ({_first_line(cause)})") from cause

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()


def _with_run(schema: pa.Schema) -> pa.Schema:
    return schema.insert(0, pa.field("run", pa.string()))


def _open(file: Path, dictionary: list[str] | None = None) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, read_dictionary=dictionary)
    except (pa.ArrowException, OSError) as cause:
        raise TableError(f"{file.name} cannot be read as Parquet ({_first_line(cause)})") from cause


def _first_line(cause: BaseException) -> str:
    return (str(cause).splitlines() or [type(cause).__name__])[0]
