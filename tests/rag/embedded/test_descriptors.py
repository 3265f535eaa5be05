import os

from rag.embedded import descriptors


def test_a_fork_is_born_without_it_and_may_close_it_all_the_same():
    reader, writer = os.pipe()
    descriptors.keep_from_forks(writer)
    fork = os.fork()
    if fork == 0:
        descriptors.close(writer)
        try:
            os.fstat(writer)
        except OSError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 0
    os.fstat(writer)  # ours is still open
    descriptors.close(writer)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_closing_twice_spares_whoever_has_the_number_by_then():
    reader, writer = os.pipe()
    descriptors.keep_from_forks(writer)
    descriptors.close(writer)
    again = os.dup(reader)
    assert again == writer  # the lowest free number
    descriptors.close(writer)
    os.fstat(again)
    os.close(again)
    os.close(reader)
