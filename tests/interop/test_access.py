"""Who may connect: tokens and passwords, as other people's clients show them."""

import subprocess

import pytest

from harness import PATIENCE, Client, wait_until

AUTH = {
    "tokens": ["for-bots", {"token": "for-screens", "name": "screen", "read_only": True}],
    "basic": [{"user": "ann", "password": "secret"}],
}


@pytest.fixture
def source(world):
    return world.source()


@pytest.fixture
def relay(world, source):
    relay = world.relay(source.url, {"auth": AUTH})
    source.expect_open()
    return relay


def dial(world, relay, kind, target="/", *args, user=""):
    """A client that asks for a target, as `user:password` if that is given."""
    url = relay.ws_url.rstrip("/").replace("://", f"://{user}@" if user else "://") + target
    language, wire = kind.split()
    return world.adopt(Client(language, wire, url, *args))


@pytest.mark.parametrize("kind", ["python ws", "node ws"])
def test_token_is_shown_in_the_url_or_in_a_subprotocol(world, relay, source, kind):
    clients = [
        dial(world, relay, kind, "/stream?token=for-bots"),
        dial(world, relay, kind, "/", "--subprotocol", "bearer.for-bots"),
        dial(world, relay, kind, user="ann:secret"),
    ]
    agreed = [client.expect("open")["subprotocol"] for client in clients]
    assert agreed == [None, "bearer.for-bots", None]
    source.send("text", b"news")
    assert [client.receive() for client in clients] == [("text", b"news")] * 3
    wait_until(lambda: "(ann): connected" in relay.output, "the log names who came")


@pytest.mark.parametrize("kind", ["python ws", "node ws"])
def test_who_knows_no_secret_is_refused(world, relay, kind):
    for target in ("/", "/?token=wrong"):
        assert dial(world, relay, kind, target).expect("refused")["status"] == 401


def test_curl_is_told_what_is_wanted(relay):
    handshake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    headers = [part for name, value in handshake.items() for part in ("-H", f"{name}: {value}")]
    url = relay.ws_url.replace("ws://", "http://")
    command = ["curl", "-q", "-isS", "--noproxy", "*", "--max-time", str(PATIENCE), *headers, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)
    head, _, body = done.stdout.partition("\n\n")
    assert head.startswith("HTTP/1.1 401 Unauthorized")
    assert 'WWW-Authenticate: Bearer realm="veylor"' in head
    assert 'WWW-Authenticate: Basic realm="veylor", charset="UTF-8"' in head
    assert body.startswith("401 Unauthorized: this endpoint wants a token or a password")
