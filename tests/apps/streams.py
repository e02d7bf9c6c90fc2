"An app with streams of every temper, which notes in a file what happens to them."
import asyncio, os, time

from fasthtml.common import fast_app
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware

from fasthtml_sse import SSEResponse, sse

def note(what):
    with open(os.environ['NOTES'], 'a') as f: f.write(f'{what} {time.monotonic()}\n')

async def passing(request, call_next): return await call_next(request)

middleware = [Middleware(BaseHTTPMiddleware, dispatch=passing)] if os.environ.get('MIDDLEWARE') else []
app, rt = fast_app(on_shutdown=lambda: note('on_shutdown'), middleware=middleware, secret_key='test')

@rt('/ticks')
@sse
async def ticks():
    try:
        while True: yield 'tick'; await asyncio.sleep(0.02)
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
        note('start')
        try:
            while True: yield 'x' * 8192; note('yield')
        finally: note('finally')
    return SSEResponse(source, send_timeout=send_timeout)

@rt('/trickle')
async def trickle():
    async def source():
        note('start')
        try:
            for _ in range(3): yield 'x' * 20_000
            await asyncio.sleep(3600)
        finally: note('finally')
    return SSEResponse(source)

@rt('/ok')
def ok(): return 'ok'
