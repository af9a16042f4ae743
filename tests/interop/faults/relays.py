"""The program under observation: what it owns, what it counts."""

import contextlib
import http.client
import json
import os
import socket
from pathlib import Path

from harness import VEYLOR, Child, Relay, wait_until

MEBI = 1 << 20


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self.path))


class Watched(Relay):
    """A relay of one source, started by a prefix such as that of a namespace."""

    def __init__(self, world, url, prefix=(), source=None, performance=None, env=None, **top):
        self.admin_path = world.folder / f"{next(world.numbers)}.admin"
        port = world.free_port()
        entry = {
            "name": "feed",
            "url": url,
            "websocket_host": "0.0.0.0" if prefix else "127.0.0.1",
            "websocket_port": port,
            **(source or {}),
        }
        patience = {"reconnect_delay": 0.05, "reconnect_max_delay": 0.2, **(performance or {})}
        admin = {"unix_socket_path": str(self.admin_path)}
        config = {"sources": [entry], "performance": patience, "admin": admin, **top}
        self.ws_port, self.unix_path = port, entry.get("unix_socket_path")
        self.file = world.config(config)
        command = [*prefix, VEYLOR, "-c", self.file, "-v"]
        Child.__init__(self, command, env={**os.environ, **(env or {})})
        world.adopt(self)
        world.relays.append(self)
        self.wait_listening()

    def wait_listening(self):
        def is_up():
            assert self.process.poll() is None, f"exit code {self.wait()}: {self.output}"
            # The table of Unix sockets is the namespace's.
            with contextlib.suppress(OSError):
                return self.status()

        wait_until(is_up, f"{self.argv} listens")

    def expect(self, words, within=10, times=1):
        """Waits for words in its log."""
        wait_until(lambda: self.output.count(words) >= times, f"{words!r} in the log", within)

    def status(self):
        connection = UnixConnection(self.admin_path)
        try:
            connection.request("GET", "/api/status")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    @property
    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def threads(self):
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    @property
    def resident(self):
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


class Health:
    """What a relay owned before a fault; after it, it must own no more and its counters add up."""

    def __init__(self, relay):
        self.relay, self.status = relay, relay.status()
        self.descriptors, self.resident = relay.descriptors, relay.resident

    def check(self, followers=(), descriptors=0, growth=8 * MEBI, within=10):
        """`followers` were there before and have stayed; so many more descriptors are expected."""
        expected = self.descriptors + descriptors
        wait_until(
            lambda: self.relay.descriptors <= expected,
            f"at most {expected} descriptors, there are {self.relay.descriptors}",
            within,
        )
        grown = self.relay.resident - self.resident
        assert grown <= growth, f"memory has grown by {grown >> 10} KiB"
        assert "panicked" not in self.relay.output, self.relay.output
        self.check_counters(followers)

    def check_counters(self, followers):
        status = self.relay.status()
        (source,), (channel,) = status["sources"], status["channels"]
        (source_before,), (channel_before,) = self.status["sources"], self.status["channels"]
        received = source["received_messages"] - source_before["received_messages"]
        before = {client["id"]: client for client in self.status["clients"]}
        stayed = [client for client in status["clients"] if client["id"] in before]
        assert len(stayed) >= len(followers), f"{len(stayed)} of {len(followers)} have stayed"
        for client in stayed:
            then = before[client["id"]]
            got = client["sent_messages"] - then["sent_messages"]
            missed = client["dropped_messages"] - then["dropped_messages"]
            lag = client["lag_messages"] - then["lag_messages"]
            assert got + missed + lag == received, (client, source)
        gone = sum(channel["departures"].values())
        assert channel["clients"] + gone == channel["clients_ever"], channel
        assert channel["sent_messages"] >= sum(client["sent_messages"] for client in stayed)
        assert channel["dropped_messages"] >= channel_before["dropped_messages"]
