"""Who takes part, each as its own documentation says.

A class added here is measured by every benchmark that it has a method for. The imports are in the methods, so that a server holds
no other's code."""
import asyncio, socket, subprocess
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from .server import end_with_parent

HEARTBEAT = 1  # seconds
PING = b': ping\n\n'


def frame(text): return f'data: {text}\n\n'.encode()


class Contender:
    "One way to write a stream."
    name: str
    package: str | None = None  # whose version the table shows
    app = None  # from a `Source` to an ASGI app
    channel = None  # from where a store is to an ASGI app, and a coroutine function that publishes texts, together, to all its clients
    text_encoder = element_encoder = None  # a function from a value to an event for the wire
    heartbeat: str | None = None  # how it is set to one a second
    ours = False

    @property
    def serves(self): return self.app is not None

    @property
    def fans_out(self): return self.channel is not None

    @property
    def spec(self):
        "Where another process finds it."
        return f'{type(self).__module__}:{type(self).__qualname__}'

    def serve(self, source, sock):
        "Serve `source` on the listening `sock`."
        uvicorn_for(self.app(source)).run(sockets=[sock])

    @contextmanager
    def store(self):
        "What a channel needs beside its server, while it runs: where that is."
        yield ''

    async def broadcast(self, store, obey, sock):
        "Serve a channel on the listening `sock`, and let `obey` publish on it."
        app, publish = self.channel(store)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(obey(publish))
            await uvicorn_for(app).serve(sockets=[sock])


def uvicorn_for(app):
    import uvicorn
    return uvicorn.Server(uvicorn.Config(app, loop='uvloop', http='httptools', access_log=False, log_level='warning'))


class Queues:
    "A queue for each client."
    def __init__(self, encode): self.encode, self.queues = encode, set()

    def subscribe(self):
        "What is published from now on."
        self.queues.add(queue := asyncio.Queue())
        return self.events(queue)

    async def events(self, queue):
        try:
            while True: yield await queue.get()
        finally: self.queues.discard(queue)

    async def publish(self, texts):
        events = [self.encode(text) for text in texts]
        for queue in self.queues:
            for event in events: queue.put_nowait(event)


def in_fasthtml(respond):
    "A FastHTML app with a route that gives what `respond` returns."
    from fasthtml.common import fast_app
    app, rt = fast_app(secret_key='of no use')
    @rt('/events')
    async def events(): return respond()
    return app


class FasthtmlSSE(Contender):
    name, package, ours = 'fasthtml-sse', 'fasthtml-sse', True
    heartbeat = f'`heartbeat_interval={HEARTBEAT}`'

    def app(self, source):
        from fasthtml_sse import SSEResponse
        return in_fasthtml(lambda: SSEResponse(source(), heartbeat_interval=HEARTBEAT))

    def channel(self, store):
        from fasthtml_sse import MemoryLog
        return channel_over(MemoryLog())

    def text_encoder(self):
        from fasthtml_sse.core.event import to_frame
        return to_frame

    element_encoder = text_encoder


def channel_over(log):
    "A FastHTML app with our channel over `log`, and what publishes on it."
    from fasthtml_sse import Channel
    channel = Channel(log)
    async def publish(texts):
        await log.ready()  # where a store has not told its end, readers do not know yet where they begin
        await asyncio.gather(*map(channel.publish, texts))
    return in_fasthtml(channel.response), publish


class SQLiteLog(Contender):
    name, package, ours = 'SQLiteLog', 'fasthtml-sse', True

    @contextmanager
    def store(self):
        with TemporaryDirectory() as folder: yield f'{folder}/events.db'

    def channel(self, store):
        from fasthtml_sse import SQLiteLog
        return channel_over(SQLiteLog(store))


class RedisLog(Contender):
    name, package, ours = 'RedisLog', 'fasthtml-sse', True

    @contextmanager
    def store(self):
        with socket.create_server(('127.0.0.1', 0)) as sock: port = sock.getsockname()[1]
        command = ['redis-server', '--port', str(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=end_with_parent) as process:
            try:
                if not any('Ready to accept connections' in line for line in process.stdout): raise OSError('redis-server did not start')
                yield f'redis://127.0.0.1:{port}'
            finally: process.kill()

    def channel(self, store):
        from fasthtml_sse import RedisLog
        return channel_over(RedisLog(store))


class EventStream(Contender):
    name, package = 'EventStream', 'python-fasthtml'

    def app(self, source):
        from fasthtml.common import EventStream, sse_message
        return in_fasthtml(lambda: EventStream(source(sse_message)()))

    def channel(self, store):
        from fasthtml.common import EventStream, sse_message
        queues = Queues(sse_message)
        return in_fasthtml(lambda: EventStream(queues.subscribe())), queues.publish

    def text_encoder(self):
        from fasthtml.common import sse_message
        return lambda value: sse_message(value).encode()

    element_encoder = text_encoder


class SseStarlette(Contender):
    name, package = 'sse-starlette', 'sse-starlette'
    heartbeat = f'`ping={HEARTBEAT}`'

    def app(self, source):
        from sse_starlette import EventSourceResponse
        return in_fasthtml(lambda: EventSourceResponse(source()(), ping=HEARTBEAT))

    def channel(self, store):
        from sse_starlette import EventSourceResponse, ServerSentEvent
        queues = Queues(ServerSentEvent)
        return in_fasthtml(lambda: EventSourceResponse(queues.subscribe())), queues.publish

    def text_encoder(self):
        from sse_starlette import ServerSentEvent
        return lambda text: ServerSentEvent(text).encode()


class SseStarletteAtHome(Contender):
    name, package = 'sse-starlette-in-Starlette', 'sse-starlette'
    heartbeat = f'`ping={HEARTBEAT}`'

    def app(self, source):
        from sse_starlette import EventSourceResponse
        from starlette.applications import Starlette
        from starlette.routing import Route
        async def events(request): return EventSourceResponse(source()(), ping=HEARTBEAT)
        return Starlette(routes=[Route('/events', events)])


class FastAPI(Contender):
    name, package = 'FastAPI', 'fastapi'
    heartbeat = 'no setting: its constant `_PING_INTERVAL` is replaced'

    def app(self, source):
        import fastapi.routing
        from fastapi.sse import EventSourceResponse, ServerSentEvent
        fastapi.routing._PING_INTERVAL = HEARTBEAT
        app = fastapi.FastAPI()
        app.get('/events', response_class=EventSourceResponse)(source(lambda text: ServerSentEvent(raw_data=text)))
        return app

    def text_encoder(self):
        from fastapi.sse import format_sse_event
        return lambda text: format_sse_event(data_str=text)


class Litestar(Contender):
    name, package = 'Litestar', 'litestar'

    def app(self, source):
        import litestar
        from litestar.response import ServerSentEvent
        @litestar.get('/events')
        async def events() -> ServerSentEvent: return ServerSentEvent(source()())
        return litestar.Litestar([events])

    def channel(self, store):
        import litestar
        from litestar.channels import ChannelsPlugin
        from litestar.channels.backends.memory import MemoryChannelsBackend
        from litestar.response import ServerSentEvent
        channels = ChannelsPlugin(MemoryChannelsBackend(), arbitrary_channels_allowed=True)
        async def stream(subscriber):
            try:
                async for event in subscriber.iter_events(): yield event
            finally: await channels.unsubscribe(subscriber)
        @litestar.get('/events')
        async def events() -> ServerSentEvent: return ServerSentEvent(stream(await channels.subscribe('events')))
        async def publish(texts):
            for text in texts: channels.publish(text, 'events')
        return litestar.Litestar([events], plugins=[channels]), publish

    def text_encoder(self):
        from litestar.response import ServerSentEventMessage
        return lambda text: ServerSentEventMessage(text).encode()


class ToXml(Contender):
    name, package = 'to_xml', 'fastcore'

    def element_encoder(self):
        from fasthtml.common import to_xml
        return lambda element: to_xml(element, indent=False)


class RawASGI(Contender):
    name = 'raw-ASGI'
    heartbeat = '`asyncio.wait_for`'

    def app(self, source): return self.streaming(lambda: self.chunks(source))

    def channel(self, store):
        queues = Queues(frame)
        return self.streaming(queues.subscribe), queues.publish

    def streaming(self, chunks):
        "An app that sends each of the `chunks()` by itself."
        head = {'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', b'text/event-stream')]}
        async def app(scope, receive, send):
            if scope['type'] != 'http': return
            pending = chunks()
            await send(head)
            async for chunk in pending: await send({'type': 'http.response.body', 'body': chunk, 'more_body': True})
            await send({'type': 'http.response.body', 'body': b''})
        return app

    def chunks(self, source):
        "What is sent, piece by piece."
        return self.subscription() if source.silent else source(frame)()

    async def subscription(self):
        "What is published to this client, which is nothing, and heartbeats."
        queue = asyncio.Queue()
        while True:
            try: yield await asyncio.wait_for(queue.get(), HEARTBEAT)
            except TimeoutError: yield PING

    def text_encoder(self): return frame


class RawFastHTML(Contender):
    name, package = 'raw-FastHTML', 'python-fasthtml'
    heartbeat = 'one timer for all'

    def app(self, source):
        from starlette.responses import Response
        class Raw(Response):
            async def __call__(self, scope, receive, send):
                await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', b'text/event-stream')]})
                if source.silent:
                    beat_for(send)
                    while (await receive())['type'] != 'http.disconnect': pass
                async for chunk in source(frame)(): await send({'type': 'http.response.body', 'body': chunk, 'more_body': True})
                await send({'type': 'http.response.body', 'body': b''})
        return in_fasthtml(Raw)


def beat_for(send, sends=[]):
    "Beat for this connection and all others at once, with the least that can be done: `send` never has to wait here."
    def beat():
        for send in sends:
            try: send({'type': 'http.response.body', 'body': PING, 'more_body': True}).send(None)
            except StopIteration: pass
        loop.call_later(HEARTBEAT, beat)
    loop = asyncio.get_running_loop()
    if not sends: loop.call_later(HEARTBEAT, beat)
    sends.append(send)


class Floor(Contender):
    name = 'uvloop'
    heartbeat = 'one timer for all'

    @property
    def serves(self): return True

    def serve(self, source, sock):
        from .floor import serve
        serve(source, frame, PING, HEARTBEAT, sock)

    @property
    def fans_out(self): return True

    async def broadcast(self, store, obey, sock):
        from .floor import broadcast
        await broadcast(frame, obey, sock)


OURS = FasthtmlSSE, SQLiteLog, RedisLog
PEERS = EventStream, SseStarlette, SseStarletteAtHome, FastAPI, Litestar, ToXml
FLOORS = RawFastHTML, RawASGI, Floor
CONTENDERS = [make() for make in OURS + PEERS + FLOORS]
