"""The query service: from a question to cited sentences, each tenant by itself."""
