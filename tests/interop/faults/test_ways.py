"""Where dials leave the machine, and what the system makes of a way that has gone."""

import os

from network import Link
from peers import Follower, Service
from relays import Watched


def test_dial_leaves_by_the_interface_that_was_named_whatever_the_route_says(world, link):
    service = Service(world.ending, link.far.listen(Link.FAR))
    # The best route to the service leads to a device behind which there is nobody.
    world.ending.callback(os.close, link.near.tun("nowhere"))
    link.near.ip("address", "add", "10.88.0.1/24", "dev", "nowhere")
    link.near.ip("link", "set", "dev", "nowhere", "up")
    link.near.ip("route", "add", f"{Link.FAR}/32", "dev", "nowhere")
    url = f"ws://{Link.FAR}:{service.port}"
    relay = Watched(world, url, link.near.prefix, source={"bind": "wire"})
    service.accept()
    relay.expect("source feed: connected")
    lost = Watched(world, url, link.near.prefix, source={"bind": "nowhere"})
    lost.expect("no answer within 10 s", within=20)


def test_unacknowledged_bytes_end_the_connection_after_tcp_user_timeout(world, link):
    service = Service(world.ending, link.far.listen(Link.FAR))
    url = f"ws://{Link.FAR}:{service.port}"
    relay = Watched(world, url, link.near.prefix, source={"tcp_user_timeout": "1s"})
    service.accept()
    relay.expect("source feed: connected")
    client = Follower(world.ending, link.near.dial("127.0.0.1", relay.ws_port))
    link.is_cut = True
    client.stream.frame(1, b"into the void")
    # Silence alone would take it 20 s and more.
    relay.expect("source feed: lost (Connection timed out", within=8)
