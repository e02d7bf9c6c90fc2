"""Who takes part, each as its own documentation says.

A class added here is measured by every benchmark that it has a method for. The imports are in the methods, so that a server holds
no other's code."""
import asyncio

HEARTBEAT = 1  # seconds
PING = b': ping\n\n'


def frame(text): return f'data: {text}\n\n'.encode()


class Contender:
    "One way to write a stream."
    name: str
    package: str | None = None  # whose version the table shows
    app = None  # from a `Source` to an ASGI app
    text_encoder = element_encoder = None  # a function from a value to an event for the wire
    heartbeat: str | None = None  # how it is set to one a second
    ours = False

    @property
    def serves(self): return self.app is not None

    @property
    def spec(self):
        "Where another process finds it."
        return f'{type(self).__module__}:{type(self).__qualname__}'

    def serve(self, source, sock):
        "Serve `source` on the listening `sock`."
        import uvicorn
        config = uvicorn.Config(self.app(source), loop='uvloop', http='httptools', access_log=False, log_level='warning')
        uvicorn.Server(config).run(sockets=[sock])


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

    def text_encoder(self):
        from fasthtml_sse.core.event import to_frame
        return to_frame

    element_encoder = text_encoder


class EventStream(Contender):
    name, package = 'EventStream', 'python-fasthtml'

    def app(self, source):
        from fasthtml.common import EventStream, sse_message
        return in_fasthtml(lambda: EventStream(source(sse_message)()))

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

    def app(self, source):
        head = {'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', b'text/event-stream')]}
        async def app(scope, receive, send):
            if scope['type'] != 'http': return
            await send(head)
            async for chunk in self.chunks(source): await send({'type': 'http.response.body', 'body': chunk, 'more_body': True})
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


CONTENDERS = [make() for make in (FasthtmlSSE, EventStream, SseStarlette, SseStarletteAtHome, FastAPI, Litestar, ToXml, RawFastHTML, RawASGI, Floor)]
