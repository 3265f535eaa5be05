import asyncio
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from rag.cache import redis as module
from rag.cache.base import CacheUnavailable
from rag.cache.redis import RedisCache


@pytest.fixture
def url(servers) -> str:
    assert servers.redis_url
    return servers.redis_url


@pytest.fixture
async def cache(url):
    opened = RedisCache(url, max_value_bytes=100)
    yield opened
    await opened.close()


@pytest.fixture
async def server(url):
    """The server itself, to see what was left in it."""
    client = Redis.from_url(url)
    yield client
    await client.aclose()


@pytest.fixture
async def fallible(tmp_path):
    """A cache whose server is not there, yet."""
    opened = RedisCache(f"unix://{tmp_path}/server.sock", max_value_bytes=100)
    yield opened, tmp_path / "server.sock"
    await opened.close()


class Listener:
    """A server that counts who comes, and answers as it is told."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.came = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        self.writers.append(writer)
        while data := await reader.read(4096):
            if self.answer is not None and data:
                writer.write(self.answer)
        writer.close()


async def test_a_value_is_kept_as_it_is(cache, request):
    key, value = request.node.name, bytes(range(100))
    assert await cache.get(key) is None
    await cache.set(key, value, ttl_s=60)
    assert await cache.get(key) == value
    await cache.set(key, b"", ttl_s=60)
    assert await cache.get(key) == b""


async def test_a_value_has_its_time(cache, server, request):
    await cache.set(request.node.name, b"x", ttl_s=60)
    assert 0 < await server.ttl(request.node.name) <= 60


async def test_a_value_over_the_bound_is_not_kept(cache, request):
    await cache.set(request.node.name, b"x" * 101, ttl_s=60)
    assert await cache.get(request.node.name) is None
    await cache.set(request.node.name, b"x" * 100, ttl_s=60)
    assert await cache.get(request.node.name) == b"x" * 100


async def test_many_at_once_share_the_connections(url):
    narrow = RedisCache(url, max_value_bytes=100, connections=2, timeout_s=30)
    await asyncio.gather(*(narrow.ping() for _ in range(50)))
    await narrow.close()


async def test_one_that_is_gone_is_said_to_be_at_once(fallible):
    cache, _ = fallible
    for ask in (lambda: cache.get("k"), lambda: cache.set("k", b"v", ttl_s=1), cache.ping):
        with pytest.raises(CacheUnavailable):
            await ask()


async def test_after_three_failures_it_is_asked_no_more(fallible):
    cache, socket = fallible
    for _ in range(3):
        with pytest.raises(CacheUnavailable, match="does not answer"):
            await cache.get("k")
    listener = Listener(b"$-1\r\n")
    server = await asyncio.start_unix_server(listener, socket)
    with pytest.raises(CacheUnavailable, match="lately"):
        await cache.get("k")
    assert listener.came == 0
    server.close()


async def test_after_a_while_it_is_asked_again(fallible, url, monkeypatch):
    cache, _ = fallible
    monkeypatch.setattr(module, "_COOLDOWN_S", 0.0)
    for _ in range(7):
        with pytest.raises(CacheUnavailable, match="does not answer"):
            await cache.get("k")


async def test_an_answer_forgives_the_failures_before_it(fallible):
    cache, socket = fallible

    async def fail_twice() -> None:
        for _ in range(2):
            with pytest.raises(CacheUnavailable, match="does not answer"):
                await cache.get("k")

    await fail_twice()
    listener = Listener(b"$1\r\nv\r\n")
    server = await asyncio.start_unix_server(listener, socket)
    assert await cache.get("k") == b"v"
    server.close()
    for writer in listener.writers:
        writer.close()
    socket.unlink(missing_ok=True)
    await fail_twice()


async def test_one_that_keeps_silent_is_waited_for_a_moment_only(fallible):
    cache, socket = fallible
    server = await asyncio.start_unix_server(Listener(None), socket)
    async with asyncio.timeout(10):
        with pytest.raises(CacheUnavailable):
            await cache.get("k")
    server.close()
    assert module._TIMEOUT_S <= 0.5


async def test_one_that_talks_nonsense_is_no_cache(fallible):
    cache, socket = fallible
    server = await asyncio.start_unix_server(Listener(b"HTTP/1.1 200 OK\r\n\r\n"), socket)
    with pytest.raises(CacheUnavailable):
        await cache.get("k")
    server.close()


async def test_a_caller_that_goes_away_spoils_no_connection(url, request):
    narrow = RedisCache(url, max_value_bytes=100, connections=1)
    await narrow.set(request.node.name, b"mine", ttl_s=60)
    for _ in range(20):
        task = asyncio.create_task(narrow.get(request.node.name))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await narrow.get("nothing") is None
    assert await narrow.get(request.node.name) == b"mine"
    await narrow.close()


async def test_what_an_owner_has_is_forgotten_and_nobody_elses(cache, server):
    mine, other = str(uuid4()), str(uuid4())
    for number in range(1200):  # more than one step of the walk
        await server.set(f"search:{mine}:{number}", b"x")
    await server.set(f"limits:day:{mine}", b"x")
    await cache.set(f"search:{other}:1", b"x", ttl_s=60)
    assert await cache.forget(mine) == 1201
    assert await cache.forget(mine) == 0
    assert await cache.get(f"search:{other}:1") == b"x"
    assert [key async for key in server.scan_iter(match=f"*{mine}*")] == [f"generation:{mine}".encode()]
    assert 0 < await server.ttl(f"generation:{mine}") <= 3600


async def test_a_value_computed_before_its_owner_was_forgotten_is_not_kept(cache):
    owner = str(uuid4())
    key = f"search:{owner}:1"
    fence = await cache.fence(owner)
    await cache.set(key, b"x", ttl_s=60, fence=fence)
    assert await cache.get(key) == b"x"
    await cache.forget(owner)
    await cache.set(key, b"x", ttl_s=60, fence=fence)
    assert await cache.get(key) is None
    await cache.set(key, b"y", ttl_s=60, fence=await cache.fence(owner))
    assert await cache.get(key) == b"y"


async def test_a_cache_that_is_away_cannot_forget(fallible):
    cache, _ = fallible
    with pytest.raises(CacheUnavailable):
        await cache.forget(str(uuid4()))
