"A server without requests, routes and ASGI: each event is written straight to the transport."
import asyncio

import uvloop

HEAD = b'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n'
END = b'0\r\n\r\n'


def chunk(body): return b'%x\r\n%b\r\n' % (len(body), body)


class EventProtocol(asyncio.Protocol):
    "Streams `source` to whoever sends anything; where nothing comes of it, the transport joins the `waiting`."
    def __init__(self, source, frame, waiting):
        self.source, self.frame, self.waiting = source, frame, waiting
        self.writable = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport
        self.writable.set()

    def data_received(self, request):
        self.transport.write(HEAD)
        if self.source.silent: self.waiting.add(self.transport)
        else: self.task = asyncio.get_running_loop().create_task(self.stream())

    def connection_lost(self, error): self.waiting.discard(self.transport)
    def pause_writing(self): self.writable.clear()
    def resume_writing(self): self.writable.set()

    async def stream(self):
        async for event in self.source(self.frame)():
            if not self.writable.is_set(): await self.writable.wait()
            self.transport.write(chunk(event))
        self.transport.write(END)


def serve(source, frame, ping, interval, sock):
    "Serve on `sock`, with one timer that writes a `ping` to all who wait."
    async def run():
        waiting = set()
        async with await asyncio.get_running_loop().create_server(lambda: EventProtocol(source, frame, waiting), sock=sock):
            while True:
                await asyncio.sleep(interval)
                for transport in waiting: transport.write(chunk(ping))
    uvloop.run(run())
