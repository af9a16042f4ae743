"""Fixtures: a world for each test, one authority for all."""

import shutil
import tempfile
from pathlib import Path

import pytest

from harness import RawHttp, Tls, VEYLOR, World


def pytest_report_header():
    return f"veylor: {VEYLOR}"


@pytest.fixture(scope="session")
def tls(tmp_path_factory):
    return Tls(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture
def folder():
    """A short path: that of a Unix socket may have 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="vl-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def world(folder, tls):
    with World(folder, tls) as world:
        yield world


@pytest.fixture
def raw():
    """Makes raw connections to a port; they are closed at the end."""
    opened = []

    def connect(port):
        opened.append(RawHttp.dial(port))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()
