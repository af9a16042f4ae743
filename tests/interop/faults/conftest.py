"""Fixtures of the faults: namespaces where there can be some."""

import pytest

from network import Link, Namespace, why_impossible


@pytest.fixture(scope="session")
def needs_namespaces():
    reason = why_impossible()
    if reason:
        pytest.skip(f"NO NAMESPACES: {reason}: not proved")


@pytest.fixture
def namespace(world, needs_namespaces):
    return Namespace(world.ending)


@pytest.fixture
def link(world, needs_namespaces):
    """A link between the relay's namespace, `link.near`, and another, `link.far`."""
    return joined(world.ending)


def joined(ending):
    near, far = Namespace(ending), Namespace(ending)
    link = Link(near, far, ending)
    link.near, link.far = near, far
    return link
