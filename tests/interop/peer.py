"""A peer on the Python package `websockets`, or on a plain Unix socket, steered by the runner.

Commands come as JSON lines on stdin, events go as JSON lines to stdout; `peer.js` speaks the same.
The payload of a message is base64 in the field `data`.

    peer.py source --port 0 [--cert FILE --key FILE] [--subprotocol NAME] [--echo]
    peer.py ws URL [--origin ORIGIN] [--subprotocol NAME] [--ca FILE] [--cert FILE --key FILE]

With `--tls 1.2` or `--tls 1.3` it speaks that version alone; with `--ca` a source asks for certificates.

    peer.py unix PATH
"""

import argparse
import asyncio
import base64
import json
import ssl
import struct
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus


def emit(event, **fields):
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def emit_message(kind, payload):
    emit("message", type=kind, data=base64.b64encode(payload).decode())


def pieces(payload, count):
    """The payload in that many pieces, cut without regard to characters."""
    size = -(-len(payload) // count) or 1
    return [payload[at * size : (at + 1) * size] for at in range(count)]


class WsPeer:
    """One WebSocket connection, whoever dialled it."""

    def __init__(self, socket, echo=False):
        self.socket = socket
        self.echo = echo

    def emit_open(self):
        request, extensions = self.socket.request, self.socket.protocol.extensions
        emit(
            "open",
            path=request.path,
            headers={name.lower(): value for name, value in request.headers.raw_items()},
            subprotocol=self.socket.subprotocol,
            extensions=[extension.name for extension in extensions],
        )

    async def receive(self):
        try:
            while True:
                message = await self.socket.recv()
                text = isinstance(message, str)
                payload = message.encode() if text else message
                emit_message("text" if text else "binary", payload)
                if self.echo:
                    await self.socket.send(message)
        except ConnectionClosed:
            emit("close", code=self.socket.close_code, reason=self.socket.close_reason)

    async def obey(self, do, type=None, data="", fragments=1, count=0, code=1000, reason=""):
        if do == "send":
            payload = base64.b64decode(data)
            whole = payload if fragments == 1 else pieces(payload, fragments)
            await self.socket.send(whole, text=type == "text")
        elif do == "count":
            for number in range(count):
                await self.socket.send(str(number))
        elif do == "ping":
            await (await self.socket.ping())
            emit("pong")
        elif do == "close":
            await self.socket.close(code, reason)
        elif do == "drop":
            self.socket.transport.abort()


class UnixPeer:
    """One connection to a Unix socket: the length, 4 bytes big-endian, then the payload."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def receive(self):
        try:
            while True:
                (length,) = struct.unpack(">I", await self.reader.readexactly(4))
                emit_message("bytes", await self.reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            emit("close", code=None, reason="")

    async def obey(self, do, data="", fragments=1, count=0, **_):
        if do == "send":
            payload = base64.b64decode(data)
            for piece in pieces(struct.pack(">I", len(payload)) + payload, fragments):
                self.writer.write(piece)
                await self.writer.drain()
        elif do == "count":
            for number in range(count):
                payload = str(number).encode()
                self.writer.write(struct.pack(">I", len(payload)) + payload)
                await self.writer.drain()
        elif do in ("close", "drop"):
            self.writer.close()


def tls_context(protocol, options):
    context = ssl.SSLContext(protocol)
    if options.ca:
        context.load_verify_locations(options.ca)
    if options.cert:
        context.load_cert_chain(options.cert, options.key)
    if options.tls:
        version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[options.tls]
        context.minimum_version = context.maximum_version = version
    return context


async def run_source(options, current):
    async def serve_one(socket):
        peer = WsPeer(socket, options.echo)
        current.append(peer)
        peer.emit_open()
        await peer.receive()

    tls = tls_context(ssl.PROTOCOL_TLS_SERVER, options) if options.cert else None
    if tls and options.ca:
        tls.verify_mode = ssl.CERT_REQUIRED
    server = await serve(
        serve_one,
        "127.0.0.1",
        options.port,
        ssl=tls,
        subprotocols=options.subprotocol,
        compression="deflate",
        max_size=None,
        ping_interval=None,
    )
    emit("listening", port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def run_ws(options, current):
    try:
        socket = await connect(
            options.target,
            origin=options.origin,
            subprotocols=options.subprotocol,
            compression="deflate",
            max_size=None,
            ping_interval=None,
            proxy=None,
            **({"ssl": tls_context(ssl.PROTOCOL_TLS_CLIENT, options)} if options.ca else {}),
        )
    except InvalidStatus as refusal:
        return emit("refused", status=refusal.response.status_code)
    except ssl.SSLError as error:
        return emit("refused", status=None, text=str(error))
    peer = WsPeer(socket)
    current.append(peer)
    peer.emit_open()
    await peer.receive()


async def run_unix(options, current):
    peer = UnixPeer(*await asyncio.open_unix_connection(options.target))
    current.append(peer)
    emit("open")
    await peer.receive()


async def obey_stdin(current):
    """Obeys one command after the other; the newest connection is meant. Ends with stdin."""
    commands = asyncio.StreamReader(limit=64 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        try:
            await current[-1].obey(**json.loads(line))
        except (ConnectionError, ConnectionClosed, IndexError) as error:
            emit("error", text=f"{line[:80]!r}: {error!r}")


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["source", "ws", "unix"])
    parser.add_argument("target", nargs="?")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--ca")
    parser.add_argument("--tls", choices=["1.2", "1.3"])
    parser.add_argument("--origin")
    parser.add_argument("--subprotocol", action="append")
    parser.add_argument("--echo", action="store_true")
    options = parser.parse_args()

    current = []
    run = {"source": run_source, "ws": run_ws, "unix": run_unix}[options.role]
    peer = asyncio.ensure_future(run(options, current))
    await asyncio.wait(
        [asyncio.ensure_future(obey_stdin(current)), peer], return_when="FIRST_COMPLETED"
    )
    if peer.done():
        peer.result()


asyncio.run(main())
