import pytest

from rag.embedded.sizing import Machine, postgres_settings

GB = 10**9


@pytest.mark.parametrize(
    ("memory", "buffers", "maintenance"),
    [
        (GB // 4, "61MB", "61MB"),  # the least: 64 MB each
        (8 * GB, "953MB", "476MB"),  # an eighth; a sixteenth
        (256 * GB, "1907MB", "953MB"),  # the most: 2 GB and 1 GB
    ],
)
def test_memory_is_shared_out_between_bounds(memory: int, buffers: str, maintenance: str):
    settings = postgres_settings(Machine(memory, memory, processors=2), durable=True)
    assert settings["shared_buffers"] == buffers
    assert settings["maintenance_work_mem"] == maintenance


@pytest.mark.parametrize(("processors", "connections"), [(1, "75"), (2, "100"), (64, "200")])
def test_connections_grow_with_the_processors(processors: int, connections: str):
    assert postgres_settings(Machine(8 * GB, 8 * GB, processors), durable=True)["max_connections"] == connections


def test_a_container_with_little_shared_memory_uses_files_for_it():
    docker = Machine(8 * GB, shared_memory=64_000_000, processors=2)
    assert postgres_settings(docker, durable=True)["dynamic_shared_memory_type"] == "mmap"
    plain = Machine(8 * GB, shared_memory=4 * GB, processors=2)
    assert "dynamic_shared_memory_type" not in postgres_settings(plain, durable=True)


def test_only_the_durable_wait_for_the_disk():
    machine = Machine(8 * GB, 8 * GB, processors=2)
    assert "fsync" not in postgres_settings(machine, durable=True)
    assert postgres_settings(machine, durable=False)["fsync"] == "off"


def test_this_machine_has_something_to_share():
    here = Machine.here()
    assert here.memory > 2**27
    assert here.processors >= 1
