"""A link that is slow, loses packets and lets them overtake one another."""

import contextlib
import time

import pytest

from harness import PATIENCE
from network import Link
from peers import Follower, Service
from relays import Health, Watched

WEATHERS = {
    "latency": {"delay": 0.15},
    "reordering": {"delay": 0.02, "jitter": 0.03},
    "loss": {"delay": 0.01, "loss": 0.03},
    "all at once": {"delay": 0.03, "jitter": 0.03, "loss": 0.02},
}


@pytest.mark.parametrize("weather", WEATHERS)
def test_bad_link_loses_no_message(world, link, weather):
    service = Service(world.ending, link.far.listen(Link.FAR))
    relay = Watched(world, f"ws://{Link.FAR}:{service.port}", link.near.prefix)
    service.accept()
    near = Follower(world.ending, link.near.dial("127.0.0.1", relay.ws_port))
    far = Follower(world.ending, link.far.dial(Link.NEAR, relay.ws_port))
    service.send()
    for follower in (near, far):
        follower.expect_until(0)
    health = Health(relay)

    vars(link).update(WEATHERS[weather])
    for _ in range(80):
        service.send(10)
        time.sleep(0.005)
    for follower in (near, far):
        follower.check(range(801))
    assert "loss" not in WEATHERS[weather] or link.lost > 0
    assert "jitter" not in WEATHERS[weather] or link.overtaken > 0
    health.check([near, far])


def test_bad_link_loses_no_forwarded_message(world, link):
    service = Service(world.ending, link.far.listen(Link.FAR))
    relay = Watched(world, f"ws://{Link.FAR}:{service.port}", link.near.prefix)
    source = service.accept()
    relay.expect("source feed: connected")
    client = Follower(world.ending, link.far.dial(Link.NEAR, relay.ws_port))
    vars(link).update(WEATHERS["all at once"])
    for number in range(500):
        client.stream.frame(1, f"{number}".encode() + b"x" * 100)
    source.socket.settimeout(3 * PATIENCE)
    numbers = [int(source.read_frame()[1].rstrip(b"x")) for _ in range(500)]
    assert numbers == list(range(500))
    (status,) = relay.status()["sources"]
    assert (status["forwarded_messages"], status["dropped_messages"]) == (500, 0)


def test_source_that_is_hard_to_reach_is_reached(world, link):
    """A fifth of the packets are lost while it connects, and attempts may fail."""
    link.loss, link.delay = 0.2, 0.02
    service = Service(world.ending, link.far.listen(Link.FAR))
    relay = Watched(world, f"ws://{Link.FAR}:{service.port}", link.near.prefix)
    near = Follower(world.ending, link.near.dial("127.0.0.1", relay.ws_port))
    health = Health(relay)
    while "source feed: connected" not in relay.output:
        with contextlib.suppress(OSError, AssertionError):
            service.accept(3 * PATIENCE)
            relay.expect("source feed: connected")
    link.loss = 0.05
    service.send(50)
    near.check(range(50))
    health.check([near], descriptors=1)
