"""Wrong bytes: the peer gets the right close code, nobody else notices."""

import base64
import hashlib
import socket
import struct

import pytest

from harness import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawHttp, encoded_frame

LIMIT = 1000


@pytest.fixture
def scene(world):
    """A source, a relay that takes small messages from clients, and a bystander."""
    source = world.source()
    relay = world.relay(source.url, performance={"max_client_message_size": LIMIT})
    source.expect_open()
    bystander = world.client("node ws", relay, source)
    yield source, relay
    source.send("text", b"unharmed")
    assert bystander.receive() == ("text", b"unharmed")
    assert relay.process.poll() is None


def close_payload(code, reason=b""):
    return struct.pack(">H", code) + reason


WRONG = {
    "unmasked": (1002, [dict(opcode=TEXT, payload=b"x", mask=False)]),
    "reserved bit": (1002, [dict(opcode=TEXT, payload=b"x", rsv=4)]),
    "unknown opcode": (1002, [dict(opcode=3, payload=b"x")]),
    "unknown control opcode": (1002, [dict(opcode=11)]),
    "ping too long": (1002, [dict(opcode=PING, payload=b"x" * 126)]),
    "ping in fragments": (1002, [dict(opcode=PING, payload=b"x", fin=False)]),
    "continuation of nothing": (1002, [dict(opcode=CONTINUATION, payload=b"x")]),
    "text within fragments": (
        1002,
        [dict(opcode=TEXT, payload=b"x", fin=False), dict(opcode=TEXT, payload=b"x")],
    ),
    "close of one byte": (1002, [dict(opcode=CLOSE, payload=b"x")]),
    "close code 999": (1002, [dict(opcode=CLOSE, payload=close_payload(999))]),
    "close code 1005": (1002, [dict(opcode=CLOSE, payload=close_payload(1005))]),
    "close code 1006": (1002, [dict(opcode=CLOSE, payload=close_payload(1006))]),
    "close reason not UTF-8": (1007, [dict(opcode=CLOSE, payload=close_payload(1000, b"\xff"))]),
    "text not UTF-8": (1007, [dict(opcode=TEXT, payload=b"\xce\xba\xff")]),
    "text cut in a character": (1007, [dict(opcode=TEXT, payload="é".encode()[:1])]),
    "text not UTF-8 over fragments": (
        1007,
        [
            dict(opcode=TEXT, payload=b"\xf0\x9f", fin=False),
            dict(opcode=CONTINUATION, payload=b"xx"),
        ],
    ),
    "too large": (1009, [dict(opcode=BINARY, payload=b"x" * (LIMIT + 1))]),
    "too large in fragments": (
        1009,
        [
            dict(opcode=BINARY, payload=b"x" * LIMIT, fin=False),
            dict(opcode=CONTINUATION, payload=b"x"),
        ],
    ),
    "too large by its announcement": (1009, [dict(opcode=BINARY, length=1 << 40)]),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_frame_is_answered_with_its_code(scene, raw, name):
    code, frames = WRONG[name]
    _, relay = scene
    connection = raw(relay.ws_port).upgrade()
    for frame in frames:
        connection.frame(**frame)
    assert connection.close_code() == code
    assert connection.ends()


def test_message_of_the_limit_passes(scene, raw):
    source, relay = scene
    connection = raw(relay.ws_port).upgrade()
    connection.frame(BINARY, b"x" * LIMIT)
    assert source.receive() == ("binary", b"x" * LIMIT)


def test_ping_between_fragments_is_answered(scene, raw):
    source, relay = scene
    connection = raw(relay.ws_port).upgrade()
    connection.frame(TEXT, b"one ", fin=False)
    connection.frame(PING, b"still there?")
    assert connection.read_frame() == (PONG, b"still there?")
    connection.frame(PONG, b"nobody asked")
    connection.frame(CONTINUATION, b"two")
    assert source.receive() == ("text", b"one two")


@pytest.mark.parametrize("code", [None, 1000, 1001, 3000, 4999])
def test_close_is_echoed(scene, raw, code):
    _, relay = scene
    connection = raw(relay.ws_port).upgrade()
    connection.frame(CLOSE, b"" if code is None else close_payload(code))
    opcode, payload = connection.read_frame()
    assert opcode == CLOSE
    assert (
        payload in (b"", close_payload(1000))
        if code is None
        else payload[:2] == close_payload(code)
    )
    assert connection.ends()


@pytest.mark.parametrize("length", [0, LIMIT + 1, 0xFFFFFFFF])
def test_wrong_length_on_a_unix_socket_ends_the_connection(scene, length):
    _, relay = scene
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(relay.unix_path))
        connection.sendall(struct.pack(">I", length) + b"x" * min(length, LIMIT + 1))
        try:
            assert connection.recv(1) == b""
        except ConnectionResetError:
            pass


def test_unix_message_may_come_byte_by_byte(scene):
    source, relay = scene
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(relay.unix_path))
        for byte in struct.pack(">I", 5) + b"hello":
            connection.sendall(bytes([byte]))
        assert source.receive() == ("text", b"hello")


def test_connections_that_vanish_harm_nobody(scene, raw):
    _, relay = scene
    for _ in range(50):
        connection = raw(relay.ws_port).upgrade()
        connection.send(encoded_frame(TEXT, b"half of it")[:7])
        linger_zero = struct.pack("ii", 1, 0)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_zero)
        connection.close()


class RawSource:
    """A service that answers the handshake and then sends any bytes."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10)
        self.url = f"ws://127.0.0.1:{self.listener.getsockname()[1]}"

    def accept(self):
        stream, _ = self.listener.accept()
        stream.settimeout(10)
        head = b""
        while b"\r\n\r\n" not in head:
            data = stream.recv(65536)
            assert data, "hung up within the handshake"
            head += data
        lines = dict(
            line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line
        )
        key = {name.lower(): value for name, value in lines.items()}["sec-websocket-key"]
        accept = base64.b64encode(
            hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        ).decode()
        stream.sendall(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        return RawHttp(stream)


WRONG_FROM_SOURCE = {
    "masked": (1002, dict(opcode=TEXT, payload=b"x", mask=True)),
    "reserved bit": (1002, dict(opcode=TEXT, payload=b"x", rsv=4, mask=False)),
    "text not UTF-8": (1007, dict(opcode=TEXT, payload=b"\xff", mask=False)),
    "too large": (1009, dict(opcode=BINARY, payload=b"x" * 2001, mask=False)),
    "too large by its announcement": (1009, dict(opcode=BINARY, length=1 << 40, mask=False)),
}


@pytest.mark.parametrize("name", WRONG_FROM_SOURCE)
def test_wrong_frame_of_a_source_ends_it_and_clients_stay(world, name):
    code, frame = WRONG_FROM_SOURCE[name]
    source = RawSource()
    relay = world.relay(source.url, performance={"max_message_size": 2000})
    connection = source.accept()
    client = world.dial("python ws", relay)
    client.expect("open")
    connection.frame(**frame)
    assert connection.close_code() == code
    connection.close()

    again = source.accept()
    again.frame(TEXT, b"better", mask=False)
    assert client.receive() == ("text", b"better")
    again.close()
    source.listener.close()


def test_masks_of_frames_to_a_source_differ(world, raw):
    source = RawSource()
    relay = world.relay(source.url)
    connection = source.accept()
    client = raw(relay.ws_port).upgrade()
    masks = set()
    for _ in range(8):
        # The relay may hold a frame back until it knows that it is connected, so it is asked first.
        connection.frame(PING, b"?", mask=False)
        assert connection.read_frame() == (PONG, b"?")
        client.frame(TEXT, b"same")
        head = connection.exactly(2)
        assert head == bytes([0x81, 0x84])
        masks.add(connection.exactly(4))
        connection.exactly(4)
    assert len(masks) == 8
    connection.close()
    source.listener.close()
