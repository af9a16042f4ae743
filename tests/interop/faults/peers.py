"""A service and clients whose messages are numbered, so that nothing can be missing unnoticed."""

import base64
import contextlib
import hashlib
import socket
import struct
import threading
import time

from harness import CLOSE, PATIENCE, PING, PONG, TEXT, RawHttp, encoded_frame, wait_until

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def encoded(number, size=100):
    """A service's frame with a number and so many bytes of padding."""
    return encoded_frame(TEXT, f"{number} ".encode() + b"x" * size, mask=False)


class Service:
    """What the relay dials. It numbers its messages over all of its connections."""

    def __init__(self, ending, listener):
        self.listener, self.ending = listener, ending
        self.listener.settimeout(PATIENCE)
        ending.callback(self.listener.close)
        self.port = listener.getsockname()[1]
        self.sent = 0

    @classmethod
    def local(cls, ending, address="127.0.0.1", port=0):
        return cls(ending, socket.create_server((address, port)))

    def accept_stream(self, within=PATIENCE):
        self.listener.settimeout(within)
        stream, _ = self.listener.accept()
        self.ending.callback(stream.close)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return RawHttp(stream)

    def accept(self, within=PATIENCE):
        """Agrees to the relay's handshake."""
        self.stream = self.accept_stream(within)
        agree(self.stream)
        return self.stream

    def send(self, count=1, size=100):
        """Sends the next messages."""
        numbers = range(self.sent, self.sent + count)
        self.sent += count
        self.stream.send(b"".join(encoded(number, size) for number in numbers))

    def send_paced(self, seconds, interval=0.01):
        """Sends a message each interval, for so long."""
        for _ in range(round(seconds / interval)):
            self.send()
            time.sleep(interval)

    def answer(self):
        """Answers pings in the background; what else comes is dropped."""
        stream = self.stream
        threading.Thread(target=answer_pings, args=(stream,), daemon=True).start()


def agree(stream):
    while b"\r\n\r\n" not in stream.input:
        data = stream.socket.recv(65536)
        assert data, "hung up within the handshake"
        stream.input += data
    head, _, stream.input = stream.input.partition(b"\r\n\r\n")
    lines = (line.partition(b":") for line in head.splitlines())
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    digest = hashlib.sha1(headers[b"sec-websocket-key"] + GUID).digest()
    stream.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


def answer_pings(stream, is_server=True):
    stream.socket.settimeout(None)
    with contextlib.suppress(OSError, EOFError):
        while True:
            opcode, payload = stream.read_frame()
            if opcode == PING:
                stream.frame(PONG, payload, mask=not is_server)


class Follower:
    """A WebSocket client that reads always and remembers every number."""

    def __init__(self, ending, stream):
        self.stream = RawHttp(stream).upgrade()
        self.numbers, self.pings, self.end = [], 0, None
        self.answers_pings = True
        self.stream.socket.settimeout(None)
        ending.callback(self.stop)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            while self.end is None:
                opcode, payload = self.stream.read_frame()
                if opcode == TEXT:
                    self.numbers.append(int(payload.split(None, 1)[0]))
                elif opcode == PING:
                    self.pings += 1
                    if self.answers_pings:
                        self.stream.frame(PONG, payload)
                elif opcode == CLOSE:
                    self.end = f"closed {struct.unpack('>H', payload[:2])[0] if payload else ''}"
        except (OSError, EOFError) as error:
            self.end = self.end or f"{type(error).__name__}: {error}"

    def stop(self):
        with contextlib.suppress(OSError):
            self.stream.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(PATIENCE)
        self.stream.close()

    def expect_until(self, last, within=PATIENCE):
        """Waits for a message."""

        def has_come():
            return self.end or (self.numbers and self.numbers[-1] >= last)

        wait_until(has_come, f"message {last}; {len(self.numbers)} came", within)

    def check(self, numbers):
        """Exactly these have come, in order, and it is still connected."""
        numbers = list(numbers)
        self.expect_until(numbers[-1] if numbers else -1, 3 * PATIENCE)
        assert self.end is None, self.end
        assert self.numbers == numbers
