"A server without requests, routes and ASGI: each event is written straight to the transport."
import asyncio

import uvloop

HEAD = b'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n'
END = b'0\r\n\r\n'


def chunk(body): return b'%x\r\n%b\r\n' % (len(body), body)


class WaitingProtocol(asyncio.Protocol):
    "The transport of whoever sends anything joins the `waiting`."
    def __init__(self, waiting): self.waiting = waiting

    def connection_made(self, transport): self.transport = transport

    def data_received(self, request):
        self.transport.write(HEAD)
        self.waiting.add(self.transport)

    def connection_lost(self, error): self.waiting.discard(self.transport)


class EventProtocol(WaitingProtocol):
    "Streams `source` to whoever sends anything, unless nothing comes of it."
    def __init__(self, source, frame, waiting):
        super().__init__(waiting)
        self.source, self.frame, self.writable = source, frame, asyncio.Event()
        self.writable.set()

    def data_received(self, request):
        if self.source.silent: return super().data_received(request)
        self.transport.write(HEAD)
        self.task = asyncio.get_running_loop().create_task(self.stream())

    def pause_writing(self): self.writable.clear()
    def resume_writing(self): self.writable.set()

    async def stream(self):
        async for event in self.source(self.frame)():
            if not self.writable.is_set(): await self.writable.wait()
            self.transport.write(chunk(event))
        self.transport.write(END)


async def broadcast(frame, obey, sock):
    "Let `obey` publish to all clients of `sock`. What is published together is one write."
    waiting = set()
    async def publish(texts):
        body = chunk(b''.join(map(frame, texts)))
        for transport in waiting: transport.write(body)
    async with await asyncio.get_running_loop().create_server(lambda: WaitingProtocol(waiting), sock=sock): await obey(publish)


def serve(source, frame, ping, interval, sock):
    "Serve on `sock`, with one timer that writes a `ping` to all who wait."
    async def run():
        waiting = set()
        async with await asyncio.get_running_loop().create_server(lambda: EventProtocol(source, frame, waiting), sock=sock):
            while True:
                await asyncio.sleep(interval)
                for transport in waiting: transport.write(chunk(ping))
    uvloop.run(run())
