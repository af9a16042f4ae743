"""Fixtures: a world for each test, one authority for all."""

import os

import pytest

from forms import Forms
from harness import Admin, RawHttp, Tls, VEYLOR, World, short_folder


def pytest_report_header():
    return f"veylor: {VEYLOR}"


@pytest.fixture(scope="session")
def tls(tmp_path_factory):
    return Tls(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture
def folder():
    with short_folder() as path:
        yield path


@pytest.fixture
def world(folder, tls):
    with World(folder, tls) as world:
        yield world


@pytest.fixture(scope="session")
def has_admin_door():
    with short_folder() as folder, World(folder, tls=None) as world:
        return Admin(world).exists()


@pytest.fixture(scope="session")
def needs_admin_door(has_admin_door):
    if not has_admin_door and "VEYLOR_NEEDS_ADMIN" not in os.environ:
        pytest.skip("NO ADMIN DOOR in this program: not proved")


@pytest.fixture
def admin(world, needs_admin_door):
    """The admin doors of the relay that the test starts by it."""
    return Admin(world)


@pytest.fixture
def forms(world):
    """Starts a relay, and a service for it."""

    def start(settings=None, **top):
        return Forms(world, world.source(), settings, **top)

    return start


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
