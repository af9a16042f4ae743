"""A name server that answers as it is told, for one namespace."""

import contextlib
import socket
import struct
import threading

A, AAAA = 1, 28
NXDOMAIN, SERVFAIL = 3, 2


class NameServer:
    """Serves 127.0.0.1:53 of a namespace. `answer` is an address, an error, or `None`: silence."""

    def __init__(self, namespace, folder, ending):
        self.answer, self.asked = None, 0
        self.socket = namespace.within(self._bound)
        ending.callback(self._stop)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        resolv, switch = folder / "resolv.conf", folder / "nsswitch.conf"
        resolv.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        switch.write_text("hosts: files dns\n")
        script = (
            f'mount --bind {resolv} "$(readlink -f /etc/resolv.conf)" && '
            f"{{ test ! -e /etc/nsswitch.conf || mount --bind {switch} /etc/nsswitch.conf; }} && "
            'exec "$@"'
        )
        self.resolv = resolv
        # What runs a command that asks this server.
        self.prefix = [*namespace.prefix, "unshare", "--mount", "sh", "-c", script, "sh"]

    @staticmethod
    def _bound():
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.bind(("127.0.0.1", 53))
        return bound

    def _stop(self):
        # Nobody is connected, and the thread wakes all the same.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                query, peer = self.socket.recvfrom(512)
                if not peer:
                    return
                self.asked += 1
                if self.answer is not None:
                    self.socket.sendto(reply(query, self.answer), peer)


def reply(query, answer):
    end = query.index(b"\0", 12) + 5
    question = query[12:end]
    (kind,) = struct.unpack(">H", question[-4:-2])
    code = answer if isinstance(answer, int) else 0
    record = b""
    if isinstance(answer, str) and kind == A:
        record = b"\xc0\x0c" + struct.pack(">HHIH", A, 1, 0, 4) + socket.inet_aton(answer)
    count = 1 if record else 0
    head = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, count, 0, 0)
    return head + question + record
