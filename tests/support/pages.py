"Pages that show what has an end: a run, or a job."
import asyncio
from contextlib import asynccontextmanager
from time import monotonic

from fasthtml_sse import EventParser

from .clock import until
from .serving import Reader, over_socket

class Page(Reader):
    "A page that shows a run: what it was told, and when."
    def __init__(self, server, id, path='watch'):
        super().__init__(over_socket(server.port, f'/{path}?id={id}'), '')
        self.told, self.times = [], []

    async def take(self, chunks, limit):
        parser = EventParser()
        async for chunk in chunks:
            for event in parser.feed(chunk):
                self.told.append(f'{event.event} {event.data}' if event.event else event.data)
                self.times.append(monotonic())
            self.last_id = parser.last_event_id or self.last_id

    @property
    def ended(self): return bool(self.told) and self.told[-1].startswith('close ')

    async def begun(self): await until(lambda: self.told, pause=0.01)

    async def end(self, within=15):
        "What it was told last, and when."
        async with asyncio.timeout(within):
            while not self.ended: await asyncio.sleep(0.005)
        return self.told[-1].removeprefix('close '), self.times[-1]


@asynccontextmanager
async def opened(server, id, path='watch', returns=False):
    "A page; one that `returns` does so whenever it is cut off."
    page = Page(server, id, path)
    reading = asyncio.create_task(page.run() if returns else page.read())
    try: yield page
    finally:
        reading.cancel()
        await asyncio.wait([reading])
