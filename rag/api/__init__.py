"""The door: HTTP in and out, nothing decided here that a tenant could notice."""
