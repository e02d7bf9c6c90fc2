"The app of `streams`, and streams that show what a proxy does to them."
import asyncio, time

from starlette.responses import StreamingResponse

from fasthtml_sse import sse
from tests.apps.streams import app as app, note, rt  # uvicorn looks for `app` here

async def stamps():
    "The time, ten times a second."
    while True:
        yield str(time.monotonic())
        await asyncio.sleep(0.1)

rt('/stamps')(sse(stamps))

@rt('/unmarked')
def unmarked():
    "The same as any response would send it: without a word to proxies."
    async def frames():
        async for stamp in stamps(): yield f'data: {stamp}\n\n'
    return StreamingResponse(frames(), media_type='text/event-stream')

@rt('/beating')
@sse(heartbeat_interval=0.3)
async def beating():
    try:
        yield 'only this'
        await asyncio.sleep(3600)
    finally: note('finally')
