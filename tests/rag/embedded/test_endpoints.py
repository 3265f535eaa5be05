from pathlib import Path

import psycopg.conninfo
import redis

from rag.embedded.endpoints import Endpoints

ODD = Path("/srv/a folder/50%/x=1&y?#/run")


def test_the_urls_lead_to_the_folder_whatever_its_name_is():
    endpoints = Endpoints.at(ODD, cache=True)
    assert psycopg.conninfo.conninfo_to_dict(endpoints.app_url) == {
        "user": "cloister_app",
        "dbname": "cloister",
        "host": str(ODD),
    }
    assert psycopg.conninfo.conninfo_to_dict(endpoints.admin_url)["dbname"] == "postgres"
    assert psycopg.conninfo.conninfo_to_dict(endpoints.owner_url)["user"] == "cloister_owner"
    assert endpoints.redis_url is not None
    with redis.ConnectionPool.from_url(endpoints.redis_url) as pool:
        assert pool.connection_kwargs["path"] == str(ODD / "valkey.sock")


def test_without_a_cache_there_is_no_url_for_it():
    assert Endpoints.at(ODD, cache=False).redis_url is None
