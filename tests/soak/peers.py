"""Who lives with the relay in scripts/soak: sources, and clients that remember what they got."""

import asyncio
import base64
import collections
import contextlib
import hashlib
import random
import socket
import ssl
import struct
import time

from harness import BINARY, CLOSE, PING, PONG, TEXT, encoded_frame

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# Messages a second, and bytes of padding.
RATES = {"steady": (100, 800), "secure": (50, 300), "flapping": (50, 300), "quiet": (4, 100)}

# What has happened, by its name.
count = collections.Counter()


class Peer(asyncio.Protocol):
    """One end of a WebSocket connection, or a client's of a Unix socket."""

    def __init__(self, take, is_server=False, is_prefixed=False):
        self.take, self.is_server, self.is_prefixed = take, is_server, is_prefixed
        self.input, self.is_open = bytearray(), is_prefixed
        loop = asyncio.get_running_loop()
        self.opened, self.closed = loop.create_future(), loop.create_future()

    def connection_made(self, transport):
        self.transport = transport
        if self.is_prefixed:
            self.opened.set_result(None)
        elif not self.is_server:
            transport.write(REQUEST)

    def connection_lost(self, error):
        for future in (self.opened, self.closed):
            if not future.done():
                future.set_result(error)

    def data_received(self, data):
        self.input += data
        if not self.is_open and not self.shake_hands():
            return
        at = 0
        while (frame := self.frame(at)) is not None:
            opcode, payload, at = frame
            self.understand(opcode, payload)
        del self.input[:at]

    def shake_hands(self):
        head, end, _ = bytes(self.input).partition(b"\r\n\r\n")
        if not end:
            return False
        del self.input[: len(head) + 4]
        if self.is_server:
            lines = (line.partition(b": ") for line in head.splitlines())
            key = next(value for name, _, value in lines if name == b"Sec-WebSocket-Key")
            accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
            self.transport.write(
                b"HTTP/1.1 101 Sure\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
        elif not head.startswith(b"HTTP/1.1 101 "):
            count["clients refused"] += 1
            self.transport.abort()
            return False
        self.is_open = True
        self.opened.set_result(None)
        return True

    def frame(self, at):
        """Opcode, payload and end of the frame at a place, if it is all there."""
        left = len(self.input) - at
        if self.is_prefixed:
            if left < 4:
                return None
            (length,) = struct.unpack_from(">I", self.input, at)
            opcode, start = TEXT, at + 4
        else:
            if left < 10 and (left < 2 or left < 2 + (self.input[at + 1] & 127 == 126) * 2):
                return None
            opcode, length, start = self.input[at] & 15, self.input[at + 1] & 127, at + 2
            if length == 126:
                (length,) = struct.unpack_from(">H", self.input, start)
                start += 2
            elif length == 127:
                if left < 10:
                    return None
                (length,) = struct.unpack_from(">Q", self.input, start)
                start += 8
            key = None
            if self.is_server:
                key = self.input[start : start + 4]
                start += 4
        if len(self.input) < start + length:
            return None
        payload = bytes(self.input[start : start + length])
        if self.is_server and key:
            payload = bytes(byte ^ key[n % 4] for n, byte in enumerate(payload))
        return opcode, payload, start + length

    def understand(self, opcode, payload):
        if opcode in (TEXT, BINARY):
            self.take(payload)
        elif opcode == PING:
            self.send(payload, PONG)
        elif opcode == CLOSE:
            self.send(payload, CLOSE)
            self.transport.close()

    def send(self, payload, opcode=TEXT):
        if self.transport.is_closing():
            return
        if self.is_prefixed:
            self.transport.write(struct.pack(">I", len(payload)) + payload)
        else:
            self.transport.write(encoded_frame(opcode, payload, mask=not self.is_server))

    def leave(self, manner):
        """Says goodbye, or hangs up, or resets."""
        if manner == "goodbye" and not self.is_prefixed:
            self.send(struct.pack(">H", 1000), CLOSE)
        elif manner == "reset" and (stream := self.transport.get_extra_info("socket")):
            with contextlib.suppress(OSError):
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
            return
        self.transport.close()


class Source:
    """A service that numbers its messages, and reads those of clients, which are numbered too."""

    def __init__(self, name, tls=None):
        self.name, self.tls, self.sent, self.peer = name, tls, 0, None
        self.rate, self.padding = RATES[name]
        self.recent, self.excused = collections.deque(maxlen=self.rate), set()
        self.heard, self.is_sending = {}, True

    async def listen(self):
        loop, context = asyncio.get_running_loop(), None
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.tls.cert, self.tls.key)
        server = await loop.create_server(self.meet, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        self.url = f"wss://localhost:{self.port}" if self.tls else f"ws://127.0.0.1:{self.port}"

    def meet(self):
        """The next connection, which counts when it is open."""
        peer = Peer(self.hear, is_server=True)
        peer.opened.add_done_callback(lambda _: setattr(self, "peer", peer))
        return peer

    def hear(self, payload):
        who, _, number = payload.partition(b" ")
        if int(number) != self.heard.get(who, -1) + 1:
            count["forwarded out of order or lost"] += 1
        self.heard[who] = int(number)

    async def run(self):
        due = time.monotonic()
        while True:
            due = max(due + 1 / self.rate, time.monotonic() - 1)
            await asyncio.sleep(due - time.monotonic())
            peer = self.peer
            is_up = peer and peer.is_open and not peer.transport.is_closing()
            if not (self.is_sending and is_up) or peer.transport.get_write_buffer_size() > 1 << 20:
                continue
            peer.send(b"%d %.6f " % (self.sent, time.monotonic()) + b"x" * self.padding)
            self.recent.append(self.sent)
            self.sent += 1

    async def flap(self):
        """Goes in every manner. What it said in the second before a reset may be lost with it."""
        while True:
            await asyncio.sleep(random.uniform(3, 12))
            if not (self.peer and self.peer.is_open):
                continue
            manner = random.choice(["goodbye", "end", "reset"])
            if manner == "reset":
                self.excused.update(self.recent)
            count[f"flaps ({manner})"] += 1
            peer, self.peer = self.peer, None
            peer.leave(manner)


class Follower:
    """A client and what it has got."""

    def __init__(self, name, source, is_prefixed=False, latencies=None):
        self.name, self.source, self.is_prefixed = name, source, is_prefixed
        self.latencies, self.last, self.got, self.missed = latencies, None, 0, 0
        self.said = 0

    def take(self, payload):
        number, stamp, _ = payload.split(b" ", 2)
        number = int(number)
        self.got += 1
        if self.last is not None and number != self.last + 1:
            gap = set(range(self.last + 1, number)) - self.source.excused
            self.missed += len(gap) if number > self.last else 1
        self.last = number
        if self.latencies is not None:
            self.latencies[int((time.monotonic() - float(stamp)) * 10_000)] += 1

    async def connect(self, endpoint):
        loop, make = asyncio.get_running_loop(), lambda: Peer(self.take, False, self.is_prefixed)
        if self.is_prefixed:
            _, self.peer = await loop.create_unix_connection(make, endpoint)
        else:
            port, context = endpoint
            name = "localhost" if context else None
            _, self.peer = await loop.create_connection(
                make, "127.0.0.1", port, ssl=context, server_hostname=name
            )
        await asyncio.wait_for(self.peer.opened, 30)

    async def talk(self):
        while self.source.is_sending:
            await asyncio.sleep(1)
            self.peer.send(b"%s %d" % (self.name.encode(), self.said))
            self.said += 1

    @property
    def is_connected(self):
        return not self.peer.closed.done()
