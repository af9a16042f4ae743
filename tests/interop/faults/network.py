"""Network namespaces, and a bad link between two of them.

A `Namespace` has no name: it goes with the process that made it. A `Link` is a pair of TUN devices
whose packets pass through a thread of ours, which delays, reorders and loses them, so it needs no
qdisc and no packet filter of the kernel.
"""

import contextlib
import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import shutil
import socket
import struct
import subprocess
import threading
import time

from harness import PATIENCE

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
# Bytes of the largest packet that a link carries.
MTU = 1500

libc = ctypes.CDLL(None, use_errno=True)


def ensure(result):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def in_thread(job):
    """The result of a job in a thread of its own, which may leave our namespaces."""
    results = []

    def run():
        try:
            results.append((job(), None))
        except OSError as error:
            results.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    result, error = results[0]
    if error:
        raise error
    return result


def why_impossible():
    """What keeps this machine from making namespaces, `None` if nothing does."""
    for tool in ("ip", "nsenter", "unshare"):
        if not shutil.which(tool):
            return f"there is no {tool}"
    try:
        with contextlib.ExitStack() as ending:
            ending.callback(os.close, Namespace(ending).tun("probe"))
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no network namespace or TUN device can be made ({error})"
    return None


class Namespace:
    """A network of its own, with a loopback that is up."""

    def __init__(self, ending):
        self.file = in_thread(self._make)
        ending.callback(os.close, self.file)
        self.ip("link", "set", "lo", "up")

    @staticmethod
    def _make():
        ensure(libc.unshare(CLONE_NEWNET))
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def within(self, job):
        """The result of a job in here. A socket stays in the namespace in which it was made."""

        def enter():
            ensure(libc.setns(self.file, CLONE_NEWNET))
            return job()

        return in_thread(enter)

    @property
    def prefix(self):
        """What runs a command in here."""
        return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self.file}", "--"]

    def ip(self, *args):
        command = [*self.prefix, "ip", *args]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)

    def tun(self, name):
        """A file whose reads and writes are the packets of a new device."""

        def make():
            device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
            request = struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI)
            fcntl.ioctl(device, TUNSETIFF, request)
            return device

        return self.within(make)

    def listen(self, address, port=0):
        return self.within(lambda: socket.create_server((address, port), backlog=4096))

    def dial(self, address, port, receive_buffer=None):
        def dial():
            stream = socket.socket()
            if receive_buffer:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            stream.settimeout(PATIENCE)
            stream.connect((address, port))
            return stream

        return self.within(dial)


class Link:
    """Joins a near namespace (10.77.0.1) and a far one (10.77.0.2). Its weather may change."""

    NEAR, FAR = "10.77.0.1", "10.77.0.2"

    def __init__(self, near, far, ending, seed=7):
        # Seconds; probability.
        self.delay, self.jitter, self.loss, self.is_cut = 0.0, 0.0, 0.0, False
        self.carried, self.lost, self.overtaken = 0, 0, 0
        self.random = random.Random(seed)
        self.ends = []
        for namespace, address in ((near, self.NEAR), (far, self.FAR)):
            device = namespace.tun("wire")
            ending.callback(os.close, device)
            namespace.ip("address", "add", f"{address}/24", "dev", "wire")
            namespace.ip("link", "set", "dev", "wire", "mtu", str(MTU), "up")
            self.ends.append(device)
        self.stopping = os.eventfd(0)
        ending.callback(os.close, self.stopping)
        thread = threading.Thread(target=self._carry, daemon=True)
        thread.start()
        ending.callback(thread.join, PATIENCE)
        ending.callback(os.eventfd_write, self.stopping, 1)

    def _carry(self):
        """Packets are carried when they are due; one that was given more delay is overtaken."""
        waiting, numbers = [], itertools.count()
        while True:
            wait = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            ready, _, _ = select.select([*self.ends, self.stopping], [], [], wait)
            if self.stopping in ready:
                return
            for end in ready:
                other = self.ends[1 - self.ends.index(end)]
                for packet in packets(end):
                    if self.is_cut or self.random.random() < self.loss:
                        self.lost += 1
                        continue
                    due = time.monotonic() + self.delay + self.jitter * self.random.random()
                    heapq.heappush(waiting, (due, next(numbers), other, packet))
            last = -1
            while waiting and waiting[0][0] <= time.monotonic():
                _, number, other, packet = heapq.heappop(waiting)
                self.overtaken += number < last
                last = max(last, number)
                self.carried += 1
                # A full queue loses the packet, as a link does.
                with contextlib.suppress(BlockingIOError):
                    if not self.is_cut:
                        os.write(other, packet)


def packets(device, limit=64):
    with contextlib.suppress(BlockingIOError):
        for _ in range(limit):
            yield os.read(device, MTU + 64)
