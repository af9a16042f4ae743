#!/usr/bin/env python3
"""A Unix socket client that only receives. Needs nothing but Python.

    python3 examples/python/unix_client.py /tmp/veylor.sock

A message on the socket is its length, 4 bytes big-endian, and then its payload. Each message is a
line on stdout; one that is not UTF-8 shows its length. The end of the stream is told on stderr.
"""

import os
import socket
import struct
import sys
from typing import BinaryIO, Optional


def receive(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.connect(path)
        with stream.makefile("rb") as source:
            while (payload := read_message(source)) is not None:
                print(as_line(payload), flush=True)
    print("unix_client: closed", file=sys.stderr)


def read_message(source: BinaryIO) -> Optional[bytes]:
    """The next message, None when the stream ends between two messages."""
    head = source.read(4)
    if not head:
        return None
    if len(head) == 4:
        (length,) = struct.unpack(">I", head)
        payload = source.read(length)
        if len(payload) == length:
            return payload
    raise ConnectionError("lost in the middle of a message")


def as_line(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return f"<{len(payload)} bytes>"


def main() -> int:
    path = sys.argv[1] if len(sys.argv) > 1 else "/tmp/veylor.sock"
    try:
        receive(path)
    except BrokenPipeError:
        # Whoever read our output (`| head`) has seen enough. Python must not flush it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"unix_client: {path}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
