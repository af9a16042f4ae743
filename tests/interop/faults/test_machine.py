"""What the machine may do to the program: clocks that jump, a disk that is full, stops."""

import glob
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from harness import PATIENCE, wait_until
from network import why_impossible
from peers import Follower, Service
from relays import Health, Watched

FAKETIME = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
HOUR = 3600

needs_faketime = pytest.mark.skipif(not FAKETIME, reason="NO FAKETIME: jumping clocks: not proved")


def steady(world, prefix=(), **options):
    """A relay with a service and a client that shall notice nothing."""
    service = Service.local(world.ending)
    relay = Watched(world, f"ws://127.0.0.1:{service.port}", prefix, **options)
    service.accept()
    service.answer()
    near = follow(world, relay)
    return service, relay, near, Health(relay)


def follow(world, relay):
    stream = socket.create_connection(("127.0.0.1", relay.ws_port), PATIENCE)
    return Follower(world.ending, stream)


class Clock:
    """The time of one process, as far as it asks its C library for it."""

    def __init__(self, folder, jumps_alone):
        self.file = folder / "clock"
        self.shift(0)
        self.env = {
            "LD_PRELOAD": FAKETIME[0],
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC" if jumps_alone else "FAKETIME_UNUSED": "1",
        }

    def shift(self, seconds):
        draft = self.file.with_suffix(".draft")
        draft.write_text(f"{seconds:+d}s\n")
        draft.rename(self.file)


@needs_faketime
def test_time_of_day_that_jumps_back_and_forth_is_not_felt(world):
    clock = Clock(world.folder, jumps_alone=True)
    service, relay, near, health = steady(world, env=clock.env)
    for shift in (HOUR, -HOUR, 20 * 365 * 24 * HOUR, -20 * 365 * 24 * HOUR, 0):
        clock.shift(shift)
        service.send_paced(0.3)
        told = relay.status()["time"] - time.time()
        assert abs(told - shift) < 60, "the clock did not jump"
    near.check(range(service.sent))
    assert near.pings == 0, "time has passed for the relay"
    health.check([near])
    assert relay.stop() == 0


@needs_faketime
def test_nobody_is_cut_when_all_clocks_leap_forward(world):
    """As after a sleep of the machine: every deadline is due at once, and who is there is heard."""
    clock = Clock(world.folder, jumps_alone=False)
    service, relay, near, health = steady(world, env=clock.env)
    for hours in range(1, 6):
        service.send_paced(0.2)
        clock.shift(hours * HOUR)
    service.send_paced(0.2)
    near.check(range(service.sent))
    assert near.pings >= 2
    assert relay.status()["sources"][0]["connects"] == 1
    health.check([near])


@needs_faketime
def test_clock_that_must_not_go_back_and_does_ends_nothing(world):
    clock = Clock(world.folder, jumps_alone=False)
    service, relay, near, health = steady(world, env=clock.env)
    for shift in (HOUR, 10, HOUR, 0):
        clock.shift(shift)
        service.send_paced(0.2)
    near.check(range(service.sent))
    health.check([near])


def test_machine_that_has_been_up_for_a_century_is_no_surprise(world):
    why = why_impossible()
    if why or not os.path.exists("/proc/self/ns/time"):
        pytest.skip(f"NO TIME NAMESPACE: {why}: not proved")
    seconds = str(100 * 365 * 24 * HOUR)
    prefix = ["unshare", "--time", "--monotonic", seconds, "--boottime", seconds, "--"]
    service, relay, near, health = steady(world, prefix)
    service.send_paced(0.5)
    near.check(range(service.sent))
    health.check([near])


def test_log_that_cannot_be_written_costs_only_its_lines(world):
    service, relay, near, health = steady(world, log={"file": "/dev/full", "level": "debug"})
    for _ in range(50):
        follow(world, relay).stop()
    service.send(100)
    near.check(range(100))
    health.check([near])
    assert relay.stop() == 0


def test_log_goes_on_when_a_full_disk_has_room_again(world, needs_namespaces):
    disk = world.folder / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size=64k,nr_inodes=8 tmpfs {disk} && exec "$@"'
    prefix = ["unshare", "--mount", "sh", "-c", script, "sh"]
    log = {"file": str(disk / "log"), "level": "debug"}
    service, relay, near, health = steady(world, prefix, log=log)
    # The disk as the relay sees it.
    seen = Path(f"/proc/{relay.process.pid}/root{disk}")
    ballast = seen / "ballast"
    with pytest.raises(OSError), open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    for _ in range(100):
        follow(world, relay).stop()
    service.send(100)
    near.check(range(100))
    assert (seen / "log").stat().st_size < 65536
    ballast.unlink()
    before = (seen / "log").read_text(errors="replace")

    def tells_again():
        follow(world, relay).stop()
        return len((seen / "log").read_text(errors="replace")) > len(before)

    wait_until(tells_again, "lines of the log after there is room again")
    assert (seen / "log").read_text(errors="replace").splitlines()[-1].count("[") == 1
    health.check([near])
    assert relay.stop() == 0


def test_short_stop_of_the_relay_loses_nothing(world):
    service, relay, near, health = steady(world)
    for _ in range(3):
        relay.signal(signal.SIGSTOP)
        service.send_paced(0.5)
        relay.signal(signal.SIGCONT)
        service.send_paced(0.1)
    near.check(range(service.sent))
    health.check([near])


def test_short_stop_of_a_source_or_a_client_loses_nothing(world):
    source = world.source("python ws")
    relay = Watched(world, source.url)
    source.expect_open()
    client, near = world.dial("python ws", relay), follow(world, relay)
    client.expect("open")
    health = Health(relay)
    client.signal(signal.SIGSTOP)
    for number in range(100):
        source.send("text", b"%d " % number)
    near.expect_until(99)
    client.signal(signal.SIGCONT)
    assert [int(client.receive()[1]) for _ in range(100)] == list(range(100))
    source.signal(signal.SIGSTOP)
    for number in range(100):
        client.send("text", b"%d" % number)
    time.sleep(1)
    source.signal(signal.SIGCONT)
    assert [int(source.receive()[1]) for _ in range(100)] == list(range(100))
    near.check(range(100))
    health.check([near, client])


def test_killed_relay_comes_back_over_its_stale_sockets_and_clients_return(world):
    path = world.folder / "feed.sock"
    service, relay, near, _ = steady(world, source={"unix_socket_path": str(path)})
    service.send(10)
    near.check(range(10))
    admin, port = relay.admin_path, relay.ws_port
    relay.signal(signal.SIGKILL)
    assert relay.wait() == -signal.SIGKILL
    wait_until(lambda: near.end, "the client is told by the system")
    assert path.exists() and admin.exists()
    again = world.run("-c", relay.file, "-v", ws_port=port, unix_path=path, file=relay.file)
    service.accept()
    again.wait_listening()
    relay.process = again.process
    near = follow(world, relay)
    health = Health(relay)
    service.send(10)
    near.check(range(10, 20))
    health.check([near])
    assert again.stop() == 0
    assert not path.exists() and not admin.exists()
