"""What every step of prep stands on: manifest, locks, rows in shards, DuckDB."""
