#!/usr/bin/env python3
"""A WebSocket client that sends lines and prints what arrives.

    pip install websockets
    python3 examples/python/ws_two_way.py ws://127.0.0.1:8765

Each line of stdin is sent as a text message; Veylor forwards it to the source. Each message that
arrives is a line on stdout; binary ones show their length. The end of stdin (Ctrl-D) closes the
connection. The code and the reason of the close go to stderr.
"""

import os
import sys
import threading

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.sync.client import ClientConnection, connect


def talk(url: str) -> None:
    with connect(url, max_size=None) as socket:
        # Reading stdin blocks, so it has a thread of its own; a connection may be used by several.
        threading.Thread(target=send_lines, args=(socket,), daemon=True).start()
        try:
            while True:
                message = socket.recv()
                line = message if isinstance(message, str) else f"<{len(message)} bytes>"
                print(line, flush=True)
        except ConnectionClosed as closed:
            report(closed)


def send_lines(socket: ClientConnection) -> None:
    # A file object of its own: this thread may be reading it while Python closes sys.stdin.
    with open(0, encoding="utf-8", closefd=False) as stdin:
        try:
            for line in stdin:
                socket.send(line.rstrip("\n"))
        except ConnectionClosed:
            return
    socket.close()


def report(closed: ConnectionClosed) -> None:
    """Tells why the connection ended; without a close frame it was lost, which is an error."""
    if closed.rcvd is None:
        raise ConnectionError("lost without a close frame")
    print(f"ws_two_way: closed: {closed.rcvd.code} {closed.rcvd.reason}", file=sys.stderr)


def main() -> int:
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765"
    try:
        talk(url)
    except BrokenPipeError:
        # Whoever read our output (`| head`) has seen enough. Python must not flush it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    except (OSError, InvalidHandshake, InvalidURI) as error:
        print(f"ws_two_way: {url}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
