"""Valkey: what can be lost at any moment without anybody noticing but the clock."""
