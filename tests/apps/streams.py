"An app with streams of every temper, which notes in a file what happens to them."
import asyncio, os, time

from fasthtml.common import fast_app
from sse_starlette import EventSourceResponse
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware

from fasthtml_sse import Channel, SSEResponse, SSEStream, sse
from fasthtml_sse.core.servers import find_servers, find_transport

def note(what):
    with open(os.environ['NOTES'], 'a') as f: f.write(f'{what} {time.monotonic()}\n')

async def passing(request, call_next): return await call_next(request)

class Copying:
    "Middleware that passes on a copy of the scope."
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send): await self.app(dict(scope), receive, send)

middlewares = {'passing': [Middleware(BaseHTTPMiddleware, dispatch=passing)], 'copying': [Middleware(Copying)]}

async def relay():
    "Read a stream in the server's own loop, from before it listens."
    async def forever():
        yield 'x'
        await asyncio.Event().wait()
    async def read():
        async for _ in SSEStream().stream(forever): note('relayed')
    if os.environ.get('RELAY'): app.relay = asyncio.create_task(read())

middleware = middlewares.get(os.environ.get('MIDDLEWARE'))
app, rt = fast_app(on_startup=relay, on_shutdown=lambda: note('on_shutdown'), middleware=middleware, secret_key='test')

@rt('/ticks')
@sse
async def ticks():
    try:
        while True:
            yield 'tick'
            await asyncio.sleep(0.02)
    finally: note('finally')

@rt('/silent')
@sse
async def silent():
    try:
        yield 'only this'
        await asyncio.sleep(3600)
    finally:
        await asyncio.sleep(0)
        note('finally')

channel = Channel()

@rt('/published')
async def published(): return channel.response(snapshot=lambda: 'what it all comes to')

@rt('/lingering')
@sse
async def lingering():
    try:
        yield 'only this'
        await asyncio.sleep(3600)
    finally:
        note('finally')
        await asyncio.sleep(3600)

@rt('/blocked')
@sse
def blocked():
    yield 'only this'
    time.sleep(30)

@rt('/firehose')
def firehose(send_timeout: float = 30):
    async def source():
        try:
            while True:
                yield 'x' * 8192
                note('yield')
        finally: note('finally')
    return SSEResponse(source, send_timeout=send_timeout)

@rt('/unread')
async def unread(request):
    "Leaves something in the server's own buffer, but not so much that a send would wait."
    transport = find_transport(request.scope, request.receive, find_servers(asyncio.get_running_loop()))
    async def source():
        try:
            while not transport.get_write_buffer_size():
                yield 'x' * 8192
                await asyncio.sleep(0)
            note('unread')
            await asyncio.sleep(3600)
        finally: note('finally')
    return SSEResponse(source)

@rt('/finite')
def finite(): return SSEResponse(['x' * 65_000 for _ in range(45)])

@rt('/late')
async def late():
    "Opens its stream when the server has stopped listening."
    note('late')
    server, = find_servers(asyncio.get_running_loop())
    while server.listens(): await asyncio.sleep(0.01)
    async def source():
        try:
            yield 'x'
            await asyncio.sleep(3600)
        finally: note('finally')
    return SSEResponse(source)

@rt('/theirs')
def theirs():
    "A stream of sse-starlette, which watches the server in its own way."
    async def source():
        try:
            while True:
                yield {'data': 'tick'}
                await asyncio.sleep(0.02)
        finally: note('theirs')
    return EventSourceResponse(source())

@rt('/ok')
def ok(): return 'ok'
