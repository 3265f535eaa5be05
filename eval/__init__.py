"""The evaluation harness: every claim is a command."""
