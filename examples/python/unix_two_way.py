#!/usr/bin/env python3
"""A Unix socket client that sends lines and prints what arrives. Needs nothing but Python.

    python3 examples/python/unix_two_way.py /tmp/veylor.sock

A message on the socket is its length, 4 bytes big-endian, and then its payload. Each line of stdin
is sent as a message (an empty line is not: a length of 0 is not valid); Veylor forwards it to the
source. Each message that arrives is a line on stdout; one that is not UTF-8 shows its length. The
end of stdin (Ctrl-D) ends the connection.
"""

import os
import socket
import struct
import sys
import threading
from typing import BinaryIO, Optional


def talk(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.connect(path)
        # Reading stdin blocks, so it has a thread of its own; the stream works in both directions.
        threading.Thread(target=send_lines, args=(stream,), daemon=True).start()
        with stream.makefile("rb") as source:
            while (payload := read_message(source)) is not None:
                print(as_line(payload), flush=True)
    print("unix_two_way: closed", file=sys.stderr)


def send_lines(stream: socket.socket) -> None:
    # A file object of its own: this thread may be reading it while Python closes sys.stdin.
    with open(0, "rb", closefd=False) as stdin:
        try:
            for line in stdin:
                payload = line.rstrip(b"\n")
                if payload:
                    stream.sendall(struct.pack(">I", len(payload)) + payload)
            stream.shutdown(socket.SHUT_WR)
        except OSError:
            return  # The reading side tells how the connection ended.


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
        talk(path)
    except BrokenPipeError:
        # Whoever read our output (`| head`) has seen enough. Python must not flush it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"unix_two_way: {path}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
