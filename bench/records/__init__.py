"""What a run leaves behind: journals while it runs; Parquet tables, a capture and ``run.json`` when it closes."""
