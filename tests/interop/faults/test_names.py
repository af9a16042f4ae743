"""The name of a source: not to be had, slow to come, changed."""

import time

import pytest

from harness import PATIENCE, wait_until
from names import NXDOMAIN, SERVFAIL, NameServer
from peers import Follower, Service
from relays import Health, Watched

NAME = "feed.veylor.test"


@pytest.fixture
def names(world, namespace):
    return NameServer(namespace, world.folder, world.ending)


def service_at(world, namespace, address, port=0):
    return Service(world.ending, namespace.listen(address, port))


def relay_of(world, names, service):
    return Watched(world, f"ws://{NAME}:{service.port}", names.prefix)


@pytest.mark.parametrize("error", [NXDOMAIN, SERVFAIL], ids=["no such name", "server fails"])
def test_name_that_fails_is_asked_for_again(world, namespace, names, error):
    names.answer = error
    service = service_at(world, namespace, "127.0.0.2")
    relay = relay_of(world, names, service)
    near = Follower(world.ending, namespace.dial("127.0.0.1", relay.ws_port))
    relay.expect(f"cannot connect (cannot resolve {NAME}", times=3)
    health = Health(relay)
    names.answer = "127.0.0.2"
    service.accept()
    service.send(10)
    near.check(range(10))
    health.check([near], descriptors=1)


def test_name_that_changes_is_followed_at_the_next_dial(world, namespace, names):
    names.answer = "127.0.0.2"
    old = service_at(world, namespace, "127.0.0.2")
    new = service_at(world, namespace, "127.0.0.3", old.port)
    relay = relay_of(world, names, old)
    near = Follower(world.ending, namespace.dial("127.0.0.1", relay.ws_port))
    old.accept()
    old.send(10)
    near.check(range(10))
    health = Health(relay)

    names.answer = "127.0.0.3"
    old.stream.close()
    new.accept()
    new.sent = old.sent
    new.send(10)
    near.check(range(20))
    health.check([near])


def test_slow_name_holds_up_nobody_and_leaves_no_thread(world, namespace, names):
    """Its server says nothing for longer than the resolver is waited for."""
    names.resolv.write_text("nameserver 127.0.0.1\noptions timeout:12 attempts:1\n")
    service = service_at(world, namespace, "127.0.0.2")
    relay = relay_of(world, names, service)
    began = time.monotonic()
    wait_until(lambda: names.asked > 0, "the name is asked for")
    # Clients come and go meanwhile.
    near = Follower(world.ending, namespace.dial("127.0.0.1", relay.ws_port))
    health, threads = Health(relay), relay.threads
    for _ in range(20):
        Follower(world.ending, namespace.dial("127.0.0.1", relay.ws_port)).stop()
    assert time.monotonic() - began < PATIENCE / 2
    relay.expect("its name was not resolved within 10 s", 12)
    names.answer = "127.0.0.2"
    service.accept(3 * PATIENCE)
    service.send(10)
    near.check(range(10))
    assert relay.threads <= threads
    health.check([near], descriptors=1)
