"""Binance: spot market streams.

From "Web Socket Streams for Binance" (binance-spot-api-docs, web-socket-streams.md, and the page "General
WebSocket Streams information" of developers.binance.com), read on 2026-11-20:

- `/ws`, `/ws/STREAM` and `/stream?streams=A/B`; names of streams are in lower case.
- `SUBSCRIBE` with an id is answered `{"result": null, "id": ID}`; at most 1024 streams for a connection.
- The service sends a ping frame every 20 s and hangs up if no pong with its payload came within a minute.
- More than 5 messages in a second, counting pings, pongs and JSON, end the connection.
- 300 connections in 5 minutes from an address.
- A connection ends when it is 24 hours old. Before a restart the service says `serverShutdown`.

Left open there, and decided here: which status refuses the 301st connection (429), and that the end after a
day comes without a close frame.
"""

import asyncio
import itertools
import time
from urllib.parse import parse_qs, urlsplit

from websockets.frames import Opcode

from .service import Breach, End, Service, is_pong, now_ms

MAX_STREAMS = 1024
MAX_MESSAGES_PER_SECOND = 5


class Binance(Service):
    paths = ("/ws", "/stream")
    dial_limit = (300, 5 * 60)

    def __init__(self, pace=1 / 20, latency=0, **options):
        super().__init__(pace, **options)
        # Seconds until a subscription is answered, and trades come.
        self.latency = latency

    def on_frame(self, visit, frame):
        if is_pong(frame) and bytes(frame.data) in visit.pings:
            visit.pings.clear()
            self.note("pong")
        if frame.opcode in (Opcode.TEXT, Opcode.PING, Opcode.PONG):
            now = time.monotonic()
            visit.heard = [at for at in visit.heard if at > now - 1] + [now]
            if len(visit.heard) > self.messages_per_second and not visit.ending.done():
                visit.ending.set_result(Breach("no more than 5 messages in a second", 1008))

    @property
    def messages_per_second(self):
        """Pings come faster in a test, and so do the pongs to them."""
        return MAX_MESSAGES_PER_SECOND + round(2 / (20 * self.pace))

    def gate(self, visit, request):
        visit.pings, visit.streams, visit.heard = {}, set(), []
        names = parse_qs(urlsplit(request.path).query).get("streams", [""])[0].split("/")
        visit.streams.update(filter(None, names))

    def rules(self, visit):
        return [self.ping(visit)]

    async def ping(self, visit):
        for number in itertools.count():
            await self.wait(20)
            oldest = min(visit.pings.values(), default=None)
            if oldest is not None and time.monotonic() - oldest > 60 * self.pace:
                raise Breach("a ping is answered within a minute")
            payload = str(now_ms() + number).encode()
            visit.pings[payload] = time.monotonic()
            self.note("ping")
            await visit.ping(payload)

    async def talk(self, visit):
        await self.together(self.listen(visit), self.trade(visit))

    async def listen(self, visit):
        while True:
            request = await visit.hear()
            problem = self.problem(request)
            if problem:
                self.break_rule(problem)
                await visit.tell({"code": 2, "msg": f"Invalid request: {problem}"})
                continue
            await asyncio.sleep(self.latency)
            visit.streams.update(request["params"])
            await visit.tell({"result": None, "id": request["id"]})
            self.note("subscribed", request["params"])

    @staticmethod
    def problem(request):
        if request.get("method") != "SUBSCRIBE":
            return "method is SUBSCRIBE"
        if not isinstance(request.get("id"), (int, str)):
            return "request ID must be an unsigned integer"
        names = request.get("params")
        if not isinstance(names, list) or not 0 < len(names) <= MAX_STREAMS:
            return f"params names 1 to {MAX_STREAMS} streams"
        wrong = [name for name in names if name.partition("@")[0] != name.partition("@")[0].lower()]
        return f"symbols are in lower case: {wrong}" if wrong else None

    async def trade(self, visit):
        async for tick in self.market(visit):
            if not visit.streams:
                continue
            if visit.path == "/stream":
                await visit.tell({"stream": "btcusdt@trade", "data": trade(tick)})
            else:
                await visit.tell(trade(tick))

    async def part(self, visit):
        raise End()

    def restart(self):
        """Says so to everyone, and hangs up a little later."""

        async def shut_down():
            for visit in list(self.visits):
                await visit.tell({"e": "serverShutdown", "E": now_ms()})
            await asyncio.sleep(0.1)
            await self._end_all(End(1012, "restart"))

        self.do(shut_down())


def trade(number):
    """A trade, the same on every connection."""
    return {
        "e": "trade",
        "E": 1672515782136 + number,
        "s": "BTCUSDT",
        "t": number,
        "p": f"{20000 + number % 100}.00000000",
        "q": "0.01000000",
        "T": 1672515782136 + number,
        "m": number % 2 == 0,
        "M": True,
    }
