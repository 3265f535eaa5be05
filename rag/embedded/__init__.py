"""PostgreSQL and Valkey from wheels, as children of this process: for one machine and for tests."""

from rag.embedded.datadir import default_data_dir
from rag.embedded.endpoints import Endpoints
from rag.embedded.servers import EmbeddedServers, attach, open_servers, start, temporary_servers

__all__ = [
    "EmbeddedServers",
    "Endpoints",
    "attach",
    "default_data_dir",
    "open_servers",
    "start",
    "temporary_servers",
]
