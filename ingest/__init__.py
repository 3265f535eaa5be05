"""The ingestion pipeline, its worker, and the command line."""
