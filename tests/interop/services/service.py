"""What the stand-ins have in common: connections and their ends, limits, a market, a diary.

A service runs on a thread and a loop of its own; the test reads its diary. Minutes and days are scaled apart:
`pace` is what a second of the documents lasts in the test, and what comes once a day is asked for by the test
(`life`, in seconds of the test).
"""

import asyncio
import collections
import contextlib
import http
import json
import threading
import time
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode

# Seconds that the test waits for what ought to happen soon.
PATIENCE = 15.0
# Seconds between two ticks of the market.
TICK = 0.02


class End(Exception):
    """Ends a connection with a close code, or without a word if there is none."""

    def __init__(self, code=None, reason=""):
        super().__init__(reason)
        self.code, self.reason = code, reason


class Breach(End):
    """The client broke a rule."""

    def __init__(self, rule, code=None, reason=""):
        super().__init__(code, reason)
        self.rule = rule


class Visit(ServerConnection):
    """A connection that tells its service about every frame, also those that are no messages."""

    service = None
    # Ticks of the market that it has not been told, once it follows the market.
    due = None

    def process_event(self, event):
        is_frame = self.request is not None
        super().process_event(event)
        if is_frame:
            self.service.on_frame(self, event)

    @property
    def query(self):
        return {name: values[0] for name, values in parse_qs(urlsplit(self.request.path).query).items()}

    @property
    def path(self):
        return urlsplit(self.request.path).path

    async def tell(self, message):
        await self.send(message if isinstance(message, (str, bytes)) else json.dumps(message))

    async def hear(self):
        """The next message, which must be JSON in text."""
        message = await self.recv()
        self.service.note("heard", message)
        if isinstance(message, bytes):
            raise Breach("messages are text", 1003)
        try:
            return json.loads(message)
        except ValueError:
            raise Breach(f"messages are JSON, not {message!r}", 1007) from None


class Service:
    """A service at a port of its own. A subclass says what it does with a connection in `talk`."""

    # Where clients connect; other paths are answered 404.
    paths = ("/",)
    # Subprotocols that it knows.
    subprotocols = ()
    # Connections in so many seconds of the documents, from one address; `None`: any number.
    dial_limit = None

    def __init__(self, pace=1 / 20, life=None, tls=None, dial_limit=None):
        self.pace, self.life, self.tls = pace, life, tls
        self.dial_limit = dial_limit or self.dial_limit
        self.diary, self.broken = [], []
        # The connections, the oldest first.
        self.visits, self.dials = {}, collections.deque()
        self.refusal = None
        self.ticks = 0
        self.change = threading.Condition()
        self.is_open = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    # --- What a test does with it. ---

    def __enter__(self):
        self.thread.start()
        assert self.is_open.wait(PATIENCE), "the service does not start"
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.closing.set)
        self.thread.join(PATIENCE)

    @property
    def origin(self):
        return f"wss://localhost:{self.port}" if self.tls else f"ws://127.0.0.1:{self.port}"

    def noted(self, what):
        """What it noted under this word, in order."""
        with self.change:
            return [detail for _, word, detail in self.diary if word == what]

    def times(self, what):
        with self.change:
            return [at for at, word, _ in self.diary if word == what]

    def expect(self, what, count=1):
        """Waits until it has noted something so many times."""

        def is_there():
            return self.broken or sum(word == what for _, word, _ in self.diary) >= count

        with self.change:
            is_in_time = self.change.wait_for(is_there, PATIENCE)
        assert not self.broken, f"{self}: broken: {self.broken}"
        assert is_in_time, f"{self}: not {count} times {what!r}, but: {self.diary[-20:]}"

    def do(self, action):
        """Runs a coroutine of the service on its loop, and waits for it."""
        return asyncio.run_coroutine_threadsafe(action, self.loop).result(PATIENCE)

    def end_all(self, code=None, reason=""):
        """Ends every connection, as a restart does."""
        self.do(self._end_all(End(code, reason)))

    def drop_oldest(self):
        """The oldest connection breaks."""

        async def drop():
            next(iter(self.visits)).transport.abort()

        self.do(drop())

    def refuse(self, status, **headers):
        """Answers every dial with this, until `welcome`."""
        self.refusal = (status, {name.replace("_", "-"): value for name, value in headers.items()})

    def welcome(self):
        self.refusal = None

    # --- What a subclass says. ---

    async def talk(self, visit):
        """Speaks with a client until the connection ends."""
        raise NotImplementedError

    def rules(self, visit):
        """Coroutines that watch a connection and end it by an exception."""
        return []

    def on_frame(self, visit, frame):
        """Sees every frame that comes."""

    def gate(self, visit, request):
        """Looks at a handshake; what is not `None` is the status of a refusal."""

    # --- What a subclass uses. ---

    def note(self, what, detail=None):
        with self.change:
            self.diary.append((time.monotonic(), what, detail))
            self.change.notify_all()

    def break_rule(self, rule):
        with self.change:
            self.broken.append(rule)
            self.change.notify_all()

    async def wait(self, seconds):
        """Waits for so many seconds of the documents."""
        await asyncio.sleep(seconds * self.pace)

    async def within(self, seconds, what, awaited, code=None, reason=""):
        """What is awaited, which the client must bring about in so many seconds of the documents.

        It has a second of the test at least, as the machine may have other things to do.
        """
        try:
            return await asyncio.wait_for(awaited, max(seconds * self.pace, 1.0))
        except asyncio.TimeoutError:
            raise Breach(f"{what} within {seconds} s", code, reason) from None

    async def market(self, visit):
        """The numbers of the ticks from now on: the same for everyone, and none is left out."""
        visit.due = asyncio.Queue()
        while True:
            yield await visit.due.get()

    async def together(self, *parts):
        """Does these at once; the first that ends, ends them all."""
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # --- Its life. ---

    async def _run(self):
        self.loop, self.closing = asyncio.get_running_loop(), asyncio.Event()
        kind = type(f"{type(self).__name__}Visit", (Visit,), {"service": self})
        options = {"ssl": self.tls, "create_connection": kind}
        async with serve(
            self._receive,
            "127.0.0.1",
            0,
            process_request=self._admit,
            select_subprotocol=self._choose,
            ping_interval=None,
            close_timeout=1,
            max_queue=None,
            **options,
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            market = asyncio.ensure_future(self._tick())
            self.is_open.set()
            await self.closing.wait()
            market.cancel()
            for visit in self.visits:
                visit.transport.abort()

    async def _tick(self):
        while True:
            await asyncio.sleep(TICK)
            self.ticks += 1
            for visit in self.visits:
                if visit.due is not None:
                    visit.due.put_nowait(self.ticks)

    def _admit(self, visit, request):
        status, headers = self._refusal(visit, request)
        if status is None:
            return None
        self.note("refused", status)
        response = visit.respond(http.HTTPStatus(status), f"{status}\n")
        for name, value in headers.items():
            response.headers[name] = value
        return response

    def _choose(self, visit, offered):
        """The first that both know; a client may do without."""
        return next((name for name in offered if name in self.subprotocols), None)

    def _refusal(self, visit, request):
        now = time.monotonic()
        self.note("dialled", request.path)
        self.dials.append(now)
        if self.refusal:
            return self.refusal
        if self._is_over_limit(now):
            self.break_rule("no more than {} connections in {} s".format(*self.dial_limit))
            return 429, {"Retry-After": "1"}
        if urlsplit(request.path).path not in self.paths:
            self.break_rule(f"clients connect at {self.paths}, not at {request.path}")
            return 404, {}
        return self.gate(visit, request), {}

    def _is_over_limit(self, now):
        if self.dial_limit is None:
            return False
        count, seconds = self.dial_limit
        while self.dials and self.dials[0] <= now - seconds * self.pace:
            self.dials.popleft()
        return len(self.dials) > count

    async def _receive(self, visit):
        self.note("open", visit.request.path)
        visit.ending = self.loop.create_future()
        self.visits[visit] = None
        watched = [self.talk(visit), *self.rules(visit), self._live(visit), self._ended(visit)]
        try:
            await self.together(*watched)
        except ConnectionClosed:
            pass
        except End as end:
            await self._end(visit, end)
        except Exception as error:
            self.break_rule(f"the stand-in itself failed: {error!r}")
            raise
        finally:
            self.visits.pop(visit, None)
            self.note("closed", visit.close_code)

    async def _live(self, visit):
        """A connection lives for a day, where there is such a rule."""
        await (asyncio.sleep(self.life) if self.life else asyncio.Event().wait())
        self.note("old")
        await self.part(visit)

    async def part(self, visit):
        """Ends a connection that is a day old. The documents speak of a disconnection, no more."""
        raise End(1001)

    async def _ended(self, visit):
        raise await visit.ending

    async def _end_all(self, end):
        for visit in list(self.visits):
            if not visit.ending.done():
                visit.ending.set_result(end)

    async def _end(self, visit, end):
        if isinstance(end, Breach):
            self.break_rule(end.rule)
        if end.code is None:
            visit.transport.abort()
        else:
            with contextlib.suppress(ConnectionClosed):
                await visit.close(end.code, end.reason)

    def __str__(self):
        return type(self).__name__


def is_pong(frame):
    return frame.opcode is Opcode.PONG


def now_ms():
    return int(time.time() * 1000)
