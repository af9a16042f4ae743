"""Deribit: market data, with a heartbeat that asks.

From "public/set_heartbeat", "public/test" and "public/subscribe" of the Deribit API (docs.deribit.com), read on
2026-11-20:

- `/ws/api/v2` speaks JSON-RPC 2.0.
- After `public/set_heartbeat` with an interval of at least 10 s the service sends `heartbeat` messages, and among
  them of the type `test_request`: who does not answer those with `public/test` is disconnected at once.
- `public/subscribe` answers with the list of channels; messages of channels have the method `subscription`.

Left open there, and decided here: how long an answer may take (10 s), and that every second one is a request.
"""

import asyncio
import itertools

from .service import Breach, Service

MIN_INTERVAL = 10


class Deribit(Service):
    paths = ("/ws/api/v2",)

    def gate(self, visit, request):
        visit.interval, visit.channels = None, []
        visit.beating, visit.answered = asyncio.Event(), asyncio.Event()

    def rules(self, visit):
        return [self.beat(visit)]

    async def beat(self, visit):
        await visit.beating.wait()
        for number in itertools.count():
            await self.wait(visit.interval)
            kind = "test_request" if number % 2 else "heartbeat"
            visit.answered.clear()
            await visit.tell({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": kind}})
            if kind == "test_request":
                await self.within(10, "an answer to a test_request", visit.answered.wait())
                self.note("answered")

    async def talk(self, visit):
        await self.together(self.listen(visit), self.push(visit))

    async def listen(self, visit):
        while True:
            request = await visit.hear()
            if request.get("jsonrpc") != "2.0" or "id" not in request:
                raise Breach(f"requests are JSON-RPC 2.0: {request}", 1008)
            result = self.result(visit, request["method"], request.get("params", {}))
            await visit.tell({"jsonrpc": "2.0", "id": request["id"], "result": result})

    def result(self, visit, method, params):
        if method == "public/set_heartbeat":
            if params["interval"] < MIN_INTERVAL:
                raise Breach(f"the interval is at least {MIN_INTERVAL} s", 1008)
            visit.interval = params["interval"]
            visit.beating.set()
            return "ok"
        if method == "public/test":
            visit.answered.set()
            return {"version": "1.2.26"}
        if method == "public/subscribe":
            visit.channels += params["channels"]
            self.note("subscribed", params["channels"])
            return params["channels"]
        raise Breach(f"no such method: {method}", 1008)

    async def push(self, visit):
        async for tick in self.market(visit):
            for channel in visit.channels:
                params = {"channel": channel, "data": [{"trade_seq": tick, "price": 20000.5}]}
                await visit.tell({"jsonrpc": "2.0", "method": "subscription", "params": params})
