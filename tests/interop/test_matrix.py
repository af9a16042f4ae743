"""Every kind of source with every kind of client: what goes in comes out, in both directions."""

import os

import pytest

SOURCES = ["python ws", "python wss", "node ws", "node wss"]
CLIENTS = ["python ws", "node ws", "python unix", "node unix"]

MIB = 1 << 20
EMOJI = "naïve 🎉 Ελληνικά 日本語".encode()
NOT_UTF8 = bytes(range(256))


@pytest.fixture(params=SOURCES)
def source_kind(request):
    return request.param


@pytest.fixture(params=CLIENTS)
def client_kind(request):
    return request.param


@pytest.fixture
def pair(world, source_kind, client_kind):
    """A source and a client with a relay between them."""
    source = world.source(source_kind)
    relay = world.relay(source.url)
    assert source.expect_open()["extensions"] == []
    return source, world.client(client_kind, relay, source)


def as_received(client, kind, payload):
    """The type is not carried on a Unix socket."""
    return ("bytes" if client.wire == "unix" else kind), payload


def as_forwarded(client, kind, payload):
    """A Unix client's message is text when it can be."""
    if client.wire == "unix":
        try:
            payload.decode()
        except UnicodeDecodeError:
            return "binary", payload
        return "text", payload
    return kind, payload


def messages(client):
    """Text and binary of all kinds; an empty one cannot be said on a Unix socket."""
    usual = [
        ("text", b"plain"),
        ("binary", b"plain"),
        ("text", EMOJI),
        ("binary", EMOJI),
        ("binary", NOT_UTF8),
        ("text", b"x" * 125),
        ("text", b"x" * 126),
        ("binary", b"x" * 65535),
        ("binary", b"x" * 65536),
        ("text", b"\x00"),
    ]
    return usual if client.wire == "unix" else [*usual, ("text", b""), ("binary", b"")]


def large_messages():
    return [
        ("binary", os.urandom(MIB)),
        ("text", (EMOJI * MIB)[: len(EMOJI) * (MIB // len(EMOJI))]),
    ]


def test_text_stays_text_and_binary_stays_binary(pair):
    source, client = pair
    for kind, payload in messages(client):
        source.send(kind, payload)
        assert client.receive() == as_received(client, kind, payload)


def test_large_messages_pass_in_both_directions(pair):
    source, client = pair
    for kind, payload in large_messages():
        source.send(kind, payload)
        assert client.receive() == as_received(client, kind, payload)
        client.send(kind, payload)
        assert source.receive() == as_forwarded(client, kind, payload)


def test_fragments_are_joined_in_both_directions(pair):
    source, client = pair
    for kind, payload in [("text", EMOJI), ("binary", NOT_UTF8), *large_messages()]:
        for fragments in (2, 7):
            source.send(kind, payload, fragments)
            assert client.receive() == as_received(client, kind, payload)
            client.send(kind, payload, fragments)
            assert source.receive() == as_forwarded(client, kind, payload)


def test_thousand_messages_keep_their_order_in_both_directions(pair):
    source, client = pair
    source.do("count", count=1000)
    client.do("count", count=1000)
    for number in range(1000):
        payload = str(number).encode()
        assert client.receive() == as_received(client, "text", payload)
        assert source.receive() == ("text", payload)


def test_echo_comes_back_unchanged(world, source_kind, client_kind):
    source = world.source(source_kind, echo=True)
    relay = world.relay(source.url)
    source.expect_open()
    client = world.client(client_kind, relay, source)
    for kind, payload in [*messages(client), *large_messages()]:
        client.send(kind, payload)
        assert source.receive() == as_forwarded(client, kind, payload)
        assert client.receive() == as_received(client, kind, payload)


def test_each_client_gets_each_message_once(world):
    source = world.source("node ws")
    relay = world.relay(source.url)
    source.expect_open()
    clients = [world.client(kind, relay, source) for kind in CLIENTS]
    source.do("count", count=100)
    for client in clients:
        for number in range(100):
            assert client.receive() == as_received(client, "text", str(number).encode())
