"""How connections and the program begin and end."""

import os
import signal
import socket
import time

import pytest

from harness import wait_until

CLIENTS = ["python ws", "node ws"]
LANGUAGES = ["python", "node"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_pings_are_answered_on_both_sides(world, language):
    source = world.source(f"{language} ws")
    relay = world.relay(source.url)
    source.expect_open()
    client = world.client(f"{language} ws", relay, source)
    for _ in range(3):
        client.ping()
        source.ping()


def test_silent_peers_are_pinged(world):
    source = world.source("node ws")
    relay = world.relay(source.url)
    source.expect_open()
    client = world.client("node ws", relay, source)
    deadline = time.monotonic() + 30
    for peer in (source, client):
        assert peer.events.get(timeout=deadline - time.monotonic())["event"] == "ping"


@pytest.mark.parametrize("kind", CLIENTS)
def test_close_of_a_client_is_answered_with_its_code(world, kind):
    source = world.source()
    relay = world.relay(source.url)
    source.expect_open()
    client = world.client(kind, relay, source)
    client.do("close", code=4001, reason="bye")
    assert client.expect("close")["code"] == 4001


@pytest.mark.parametrize("kind", [*CLIENTS, "python unix", "node unix"])
def test_source_restarts_and_clients_stay(world, kind):
    source = world.source("node ws" if "python" in kind else "python ws")
    relay = world.relay(source.url)
    source.expect_open()
    client = world.client(kind, relay, source)
    for round in range(3):
        source = world.source_again(source)
        source.expect_open()
        payload = f"round {round}".encode()
        source.send("text", payload)
        assert client.receive()[1] == payload
        client.send("text", payload)
        assert source.receive() == ("text", payload)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("ending", ["close", "drop"])
def test_lost_source_is_dialled_again(world, language, ending):
    source = world.source(f"{language} ws")
    relay = world.relay(source.url)
    source.expect_open()
    client = world.client("python ws", relay, source)
    source.do(ending, code=4000, reason="restart")
    closed = source.expect("close")
    if ending == "close":
        assert closed["code"] == 4000
    source.expect_open()
    source.send("text", b"again")
    assert client.receive() == ("text", b"again")


def test_client_may_come_before_the_source(world):
    source = world.source()
    source.end()
    relay = world.relay(source.url)
    client = world.dial("node ws", relay)
    client.expect("open")
    source = world.source_again(source)
    source.expect_open()
    source.send("text", b"at last")
    assert client.receive() == ("text", b"at last")


@pytest.mark.parametrize("kind", CLIENTS)
def test_clients_are_closed_with_the_source_when_asked(world, kind):
    source = world.source()
    relay = world.relay(source.url, {"on_source_loss": "close"})
    source.expect_open()
    client = world.client(kind, relay, source)
    source.send("text", b"the last word")
    source.do("close", code=1000)
    assert client.receive() == ("text", b"the last word")
    assert client.expect("close")["code"] == 1012


def test_rebroadcast_is_fed_by_all_sources(world):
    one, two = world.source("python ws"), world.source("node ws")
    port, path = world.free_port(), world.folder / "all.sock"
    config = {
        "sources": [{"url": one.url, "name": "one"}, {"url": two.url, "name": "two"}],
        "rebroadcast": {
            "websocket": {"enabled": True, "host": "127.0.0.1", "port": port},
            "unix_socket": {"enabled": True, "path": str(path)},
        },
    }
    relay = world.run("-c", world.config(config), ws_port=port, unix_path=path)
    relay.wait_listening()
    one.expect_open(), two.expect_open()
    clients = [world.dial("python ws", relay), world.dial("node unix", relay)]
    for client in clients:
        client.expect("open")
        client.send("text", b"to both")
        assert one.receive() == two.receive() == ("text", b"to both")
    for source, payload in [(one, b"from one"), (two, b"from two")]:
        source.send("text", payload)
        for client in clients:
            assert client.receive()[1] == payload


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_closes_everything_within_two_seconds(world, raw, number):
    source = world.source()
    relay = world.relay(source.url, {"slow_client": "drop_oldest"})
    source.expect_open()
    clients = [world.client(kind, relay, source) for kind in (*CLIENTS, "python unix")]
    # One that never reads stays connected with a full socket, and must not hold up the end.
    stalled = raw(relay.ws_port)
    stalled.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.upgrade()
    for _ in range(8):
        source.send("binary", os.urandom(1 << 20))
        for client in clients:
            client.receive()

    began = time.monotonic()
    relay.signal(number)
    assert relay.wait() == 0
    assert time.monotonic() - began < 2.2
    assert not relay.unix_path.exists()
    for client in clients:
        assert client.expect("close")["code"] in ((None,) if client.wire == "unix" else (1001,))
    assert source.expect("close")["code"] in (1000, 1001)


def test_second_instance_exits_3_and_the_first_goes_on(world):
    source = world.source()
    relay = world.relay(source.url)
    source.expect_open()
    client = world.client("python unix", relay, source)
    for endpoint in (
        {"websocket_host": "127.0.0.1", "websocket_port": relay.ws_port},
        {"unix_socket_path": str(relay.unix_path)},
    ):
        second = world.run("-c", world.config({"sources": [{"url": source.url, **endpoint}]}))
        assert second.wait() == 3
    source.send("text", b"unharmed")
    assert client.receive() == ("bytes", b"unharmed")


def test_dead_socket_file_is_replaced_and_another_file_is_kept(world):
    source = world.source()
    path = world.folder / "left.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    config = {
        "sources": [{"url": source.url, "unix_socket_path": str(path), "unix_socket_mode": "0600"}]
    }
    relay = world.run("-c", world.config(config), unix_path=path)
    relay.wait_listening()
    assert path.stat().st_mode & 0o777 == 0o600
    assert relay.stop() == 0
    assert not path.exists()

    path.write_text("precious")
    assert world.run("-c", world.config(config)).wait() == 3
    assert path.read_text() == "precious"


def test_it_ends_with_1_when_the_attempts_are_spent(world):
    config = {
        "sources": [
            {
                "url": f"ws://127.0.0.1:{world.free_port()}",
                "websocket_host": "127.0.0.1",
                "websocket_port": world.free_port(),
            }
        ],
        "performance": {"reconnect_delay": 0.01, "reconnect_max_attempts": 2},
    }
    assert world.run("-c", world.config(config)).wait() == 1


def test_killed_program_can_be_started_again_at_once(world):
    source = world.source()
    relay = world.relay(source.url)
    source.expect_open()
    client = world.client("python ws", relay, source)
    config = relay.argv[-2] if relay.argv[-1] == "-v" else relay.argv[-1]
    relay.signal(signal.SIGKILL)
    assert relay.wait() == -signal.SIGKILL
    client.expect("close")
    source.expect("close")
    again = world.run("-c", config, ws_port=relay.ws_port, unix_path=relay.unix_path)
    wait_until(lambda: again.unix_path.exists(), "the socket is there")
    again.wait_listening()
    source.expect_open()
    world.client("node unix", again, source)
