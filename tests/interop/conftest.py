"""Fixtures: a world for each test, one authority for all."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from harness import Admin, RawHttp, Tls, VEYLOR, World


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


@pytest.fixture(scope="session")
def has_admin_door(tmp_path_factory):
    with World(tmp_path_factory.mktemp("door"), tls=None) as world:
        return Admin(world).exists()


@pytest.fixture
def admin(world, has_admin_door):
    """The admin door of the relay that the test starts by it."""
    if not has_admin_door and "VEYLOR_NEEDS_ADMIN" not in os.environ:
        pytest.skip("NO ADMIN DOOR in this program: not proved")
    return Admin(world)


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
