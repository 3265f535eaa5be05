"""`python -m ingest.cli`, for a process that has no `cloister` on its path."""

from ingest.cli import main

main()
