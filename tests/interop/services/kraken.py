"""Kraken: spot market data, version 2 of the WebSocket API.

From "Spot WebSocket Introduction", "Handling reconnections", and the pages of `ticker`, `heartbeat`, `ping`
and `status` (docs.kraken.com), and the FAQ of the WebSocket API (support.kraken.com), read on 2026-11-20:

- `/v2`. The service says `status` at once.
- `{"method": "subscribe", "params": {..}, "req_id": N}` is answered for each symbol, with `success`; symbols
  are written BTC/USD. Then come a snapshot and updates.
- `heartbeat` comes about once a second while nothing else does, as soon as something is subscribed. A client
  that hears nothing at all for some seconds shall reconnect.
- `{"method": "ping"}` is answered `pong`. After about a minute without traffic a connection is ended.
- About 150 connections in rolling 10 minutes from an address (Cloudflare), and then none for 10 minutes.
"""

import asyncio
import time

from .service import Breach, Service

SYMBOLS = {"BTC/USD", "ETH/USD"}


class Kraken(Service):
    paths = ("/v2",)
    dial_limit = (150, 10 * 60)

    def __init__(self, is_quiet=False, **options):
        super().__init__(**options)
        # Nothing is traded: only heartbeats come.
        self.is_quiet = is_quiet
        # Not even those: the connection is dead, and nobody says so.
        self.is_dead = False

    def gate(self, visit, request):
        visit.symbols, visit.spoken = set(), time.monotonic()

    def on_frame(self, visit, frame):
        visit.spoken = time.monotonic()

    def rules(self, visit):
        return [self.end_idle(visit)]

    async def end_idle(self, visit):
        while time.monotonic() - visit.spoken < 60 * self.pace or visit.symbols:
            await self.wait(5)
        raise Breach("who subscribes to nothing and sends nothing for a minute is disconnected", 1001)

    async def talk(self, visit):
        online = {"api_version": "v2", "connection_id": 1, "system": "online", "version": "2.0.10"}
        await visit.tell({"channel": "status", "type": "update", "data": [online]})
        await self.together(self.listen(visit), self.update(visit), self.beat(visit))

    async def listen(self, visit):
        while True:
            request = await visit.hear()
            if request.get("method") == "ping":
                self.note("ping")
                await visit.tell({"method": "pong", "req_id": request.get("req_id", 0)})
            elif request.get("method") == "subscribe":
                await self.subscribe(visit, request)
            else:
                raise Breach(f"methods are ping and subscribe, not {request}", 1008)

    async def subscribe(self, visit, request):
        params = request.get("params", {})
        for symbol in params.get("symbol", []):
            answer = {"method": "subscribe", "req_id": request.get("req_id")}
            if params.get("channel") != "ticker" or symbol not in SYMBOLS:
                self.break_rule(f"a ticker of {SYMBOLS}, not {params}")
                error = f"Currency pair not supported {symbol}"
                await visit.tell({**answer, "success": False, "symbol": symbol, "error": error})
                continue
            result = {"channel": "ticker", "snapshot": True, "symbol": symbol}
            await visit.tell({**answer, "success": True, "result": result})
            await visit.tell(ticker("snapshot", symbol, self.ticks))
            visit.symbols.add(symbol)
            self.note("subscribed", symbol)

    async def update(self, visit):
        async for tick in self.market(visit):
            if not self.is_quiet and not self.is_dead:
                for symbol in sorted(visit.symbols):
                    await visit.tell(ticker("update", symbol, tick))

    async def beat(self, visit):
        while True:
            await asyncio.sleep(max(self.pace, 0.05))
            if visit.symbols and self.is_quiet and not self.is_dead:
                await visit.tell({"channel": "heartbeat"})


def ticker(kind, symbol, number):
    data = {"symbol": symbol, "last": 20000 + number, "bid": 19999.5 + number, "ask": 20000.5 + number}
    return {"channel": "ticker", "type": kind, "data": [data]}
