#!/usr/bin/env python3
"""A WebSocket client that only receives.

    pip install websockets
    python3 examples/python/ws_client.py ws://127.0.0.1:8765

Each message is a line on stdout; binary ones show their length. When the connection is closed, the
code and the reason go to stderr.
"""

import os
import sys

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.sync.client import connect


def receive(url: str) -> None:
    with connect(url, max_size=None) as socket:
        try:
            while True:
                message = socket.recv()
                line = message if isinstance(message, str) else f"<{len(message)} bytes>"
                print(line, flush=True)
        except ConnectionClosed as closed:
            report(closed)


def report(closed: ConnectionClosed) -> None:
    """Tells why the connection ended; without a close frame it was lost, which is an error."""
    if closed.rcvd is None:
        raise ConnectionError("lost without a close frame")
    print(f"ws_client: closed: {closed.rcvd.code} {closed.rcvd.reason}", file=sys.stderr)


def main() -> int:
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765"
    try:
        receive(url)
    except BrokenPipeError:
        # Whoever read our output (`| head`) has seen enough. Python must not flush it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    except (OSError, InvalidHandshake, InvalidURI) as error:
        print(f"ws_client: {url}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
