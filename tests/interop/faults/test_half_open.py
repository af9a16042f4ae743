"""Peers that are gone without a word, and those that only slept. All wait at the same time."""

import concurrent.futures
import contextlib
import signal
import time

import pytest

from conftest import joined
from harness import PATIENCE, TEXT, RawHttp, World, encoded_frame, short_folder, wait_until
from network import Link
from peers import Follower, Service
from relays import Health, Watched

# Seconds: the ping interval, the silence after a ping, and what a busy machine may add.
NOTICED = 20 + 20 + 4

SCENARIOS = []


def scenario(job):
    SCENARIOS.append(job)
    return job


@pytest.fixture(scope="module")
def verdicts(tls, needs_namespaces):
    """What came of each, begun together; each has a world of its own."""

    def run(job):
        with short_folder() as folder, World(folder, tls) as world:
            try:
                job(world, joined(world.ending))
            except (AssertionError, OSError) as error:
                logs = [relay.output for relay in world.relays]
                raise AssertionError("\n".join([str(error), *logs])) from error

    with concurrent.futures.ThreadPoolExecutor(len(SCENARIOS)) as pool:
        yield {job: pool.submit(run, job) for job in SCENARIOS}


@pytest.mark.parametrize("job", SCENARIOS, ids=lambda job: job.__name__)
def test_half_open(verdicts, job):
    verdicts[job].result(4 * NOTICED)


class Setting:
    """A service and a client on the far side of a link, and a client on the near one."""

    def __init__(self, world, link, far_service=False, far_client=False, **options):
        self.world, self.link = world, link
        place, address = (link.far, Link.FAR) if far_service else (link.near, "127.0.0.1")
        self.service = Service(world.ending, place.listen(address))
        url = f"ws://{address}:{self.service.port}"
        self.relay = Watched(world, url, link.near.prefix, **options)
        self.service.accept()
        self.service.answer()
        self.near = self.follow()
        self.health = Health(self.relay)
        self.far = self.follow(link.far, Link.NEAR) if far_client else None

    def follow(self, namespace=None, address="127.0.0.1"):
        namespace = namespace or self.link.near
        return Follower(self.world.ending, namespace.dial(address, self.relay.ws_port))

    def send_and_check(self, more=10):
        first = self.service.sent
        self.service.send(more)
        self.near.check(range(first + more))


@scenario
def idle_source_that_vanished_is_redialled(world, link):
    setting = Setting(world, link, far_service=True)
    setting.send_and_check()
    link.is_cut = True
    setting.relay.expect("lost (silent for 20 s after a ping)", NOTICED)
    link.is_cut = False
    setting.service.accept(2 * PATIENCE)
    setting.send_and_check()
    setting.health.check([setting.near])


@scenario
def source_that_vanished_with_full_buffers_is_redialled(world, link):
    """A client has sent more than anyone takes; all of it is delivered or counted as dropped."""
    setting = Setting(world, link, far_service=True)
    setting.send_and_check()
    link.is_cut = True
    sender = RawHttp(link.near.dial("127.0.0.1", setting.relay.ws_port)).upgrade()
    world.ending.callback(sender.close)
    assert stuff(sender, 2000) > 100
    setting.relay.expect("lost (silent for 20 s after a ping)", NOTICED)
    sender.close()
    link.is_cut = False
    setting.service.accept(2 * PATIENCE)
    setting.service.answer()
    setting.send_and_check()
    wait_until(lambda: setting.relay.status()["channels"][0]["clients"] == 1, "the sender is gone")
    (source,), (channel,) = (setting.relay.status()[name] for name in ("sources", "channels"))
    taken = source["forwarded_messages"] + source["dropped_messages"]
    assert taken == channel["received_messages"] > 100
    setting.health.check([setting.near])


@scenario
def idle_client_that_vanished_is_let_go(world, link):
    setting = Setting(world, link, far_client=True)
    setting.send_and_check()
    setting.far.check(range(10))
    link.is_cut = True
    setting.relay.expect("gone (silent", NOTICED)
    setting.send_and_check()
    setting.health.check([setting.near])


@scenario
def client_that_vanished_with_full_buffers_costs_the_others_a_pause(world, link):
    setting = Setting(world, link, far_client=True, performance={"max_queue_bytes": 65536})
    link.is_cut = True
    began = time.monotonic()
    for _ in range(100):
        setting.service.send(10, size=2000)
    setting.near.check(range(1000))
    assert time.monotonic() - began < NOTICED / 4
    setting.relay.expect("gone (", NOTICED)
    setting.send_and_check()
    setting.health.check([setting.near], within=NOTICED)


@scenario
def vanished_client_that_was_alone_does_not_hold_a_source_for_ever(world, link):
    """The others of the channel are gone, its backlog is full, its source is not read."""
    limits = {"max_queue_bytes": 65536, "max_pause": "10m"}
    setting = Setting(world, link, far_client=True, performance=limits)
    setting.near.stop()
    link.is_cut = True
    stuffed = stuff(setting.service.stream, 2000, mask=False)
    assert setting.relay.status()["sources"][0]["is_paused"]
    setting.relay.expect("gone (silent", NOTICED)
    setting.service.stream.socket.settimeout(PATIENCE)
    setting.service.stream.frame(TEXT, b"0 ", mask=False)

    def has_all():
        return setting.relay.status()["sources"][0]["received_messages"] >= stuffed

    wait_until(has_all, "the source is read to the end")
    setting.health.check(descriptors=-1)


@scenario
def source_that_says_nothing_but_pong_stays(world, link):
    setting = Setting(world, link)
    time.sleep(NOTICED)
    setting.send_and_check()
    assert setting.relay.status()["sources"][0]["connects"] == 1
    assert setting.near.pings >= 2
    setting.health.check([setting.near])


@scenario
def relay_that_slept_takes_nobody_for_dead(world, link):
    """Stopped after its pings, it finds their answers, and those who waited get what was sent."""
    setting = Setting(world, link)
    wait_until(lambda: setting.near.pings == 1, "a ping", NOTICED)
    setting.relay.signal(signal.SIGSTOP)
    setting.service.send(100)
    time.sleep(21)
    setting.relay.signal(signal.SIGCONT)
    setting.near.check(range(100))
    assert setting.relay.status()["sources"][0]["connects"] == 1
    setting.health.check([setting.near])


@scenario
def stopped_client_is_let_go_and_may_come_again(world, link):
    service = Service.local(world.ending)
    relay = Watched(world, f"ws://127.0.0.1:{service.port}")
    service.accept()
    service.answer()
    health = Health(relay)
    client = world.dial("python ws", relay)
    client.expect("open")
    client.signal(signal.SIGSTOP)
    relay.expect("gone (silent", NOTICED)
    client.signal(signal.SIGCONT)
    health.check()
    again = world.dial("node ws", relay)
    again.expect("open")
    service.send()
    assert again.receive()[1].startswith(b"0 ")


@scenario
def stopped_source_is_redialled_until_it_wakes(world, link):
    source = world.source("python ws")
    relay = Watched(world, source.url)
    source.expect_open()
    health = Health(relay)
    source.signal(signal.SIGSTOP)
    relay.expect("lost (silent for 20 s after a ping)", NOTICED)
    relay.expect("redial in")
    source.signal(signal.SIGCONT)
    relay.expect("source feed: connected", 2 * PATIENCE, times=2)
    health.check()


@scenario
def dial_into_silence_is_given_up_and_tried_again(world, link):
    link.is_cut = True
    service = Service(world.ending, link.far.listen(Link.FAR))
    relay = Watched(world, f"ws://{Link.FAR}:{service.port}", link.near.prefix)
    health = Health(relay)
    relay.expect("cannot connect", 15)
    link.is_cut = False
    service.accept(2 * PATIENCE)
    relay.expect("source feed: connected")
    health.check(descriptors=1)


@scenario
def handshake_that_is_cut_off_is_given_up(world, link):
    """A client that vanished in the middle of its request, and a source before its answer."""
    service = Service(world.ending, link.far.listen(Link.FAR))
    relay = Watched(world, f"ws://{Link.FAR}:{service.port}", link.near.prefix)
    service.accept_stream()
    client = link.far.dial(Link.NEAR, relay.ws_port)
    world.ending.callback(client.close)
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
    link.is_cut = True
    relay.expect("not opened (no handshake within 10 s)", 15)
    relay.expect("cannot open", 15)
    link.is_cut = False
    service.accept(2 * PATIENCE)
    relay.expect("source feed: connected")
    Health(relay).check()


@scenario
def source_that_is_silent_within_tls_is_given_up_and_tried_again(world, link):
    service = Service.local(world.ending)
    url = f"wss://localhost:{service.port}"
    relay = Watched(world, url, source={"ca_file": world.tls.ca})
    health = Health(relay)
    service.accept_stream()
    relay.expect("cannot open (no handshake within 10 s)", 15)
    service.accept_stream().close()
    relay.expect("cannot open", times=2)
    health.check(descriptors=1)


def stuff(stream, size, mask=True):
    """Sends messages until nothing is taken for a second; how many were sent whole."""
    stream.socket.settimeout(1)
    frame, count = encoded_frame(TEXT, b"0 " + b"x" * size, mask=mask), 0
    with contextlib.suppress(TimeoutError):
        while True:
            sent = stream.socket.send(frame)
            while sent < len(frame):
                sent += stream.socket.send(frame[sent:])
            count += 1
    return count
