"""What writes an answer from passages: the only place that may talk to a model."""
