"Tabs: one connection for all of them, whichever the visitor closes."
import asyncio
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from secrets import token_hex

from fasthtml.common import *
from fasthtml_sse import *

from .layout import example

rt = APIRouter('/tabs')

ROWS = 7  # how many events the log and each page hold
RUN = token_hex(2)  # ids of an earlier run of the server are none of ours

@dataclass
class Note:
    "Something that happened, and how many streams were open then."
    number: int
    text: str
    streams: int
    time: datetime = field(default_factory=datetime.now)

    @property
    def id(self): return f'{RUN}-{self.number}'

    def row(self):
        return Li(Small(self.number), Span(self.text), Time(f'{self.time:%H:%M:%S}'),
                  id=f'note-{self.number}', cls='new')

    def event(self):
        "What it changes in a page: a row comes and the oldest goes, the count is right, the wire blinks."
        oldest = [swap.remove(f'note-{self.number - ROWS}')] if self.number > ROWS else []
        changes = (swap.prepend(self.row(), '#notes'), *oldest,
                   swap.update(self.streams, '#streams'), swap.update(I(), '#wire'))
        return replace(to_event(changes), id=self.id)

class Log:
    "The latest notes; readers go on after the last one they have."
    def __init__(self):
        self.numbers, self.notes = count(1), deque(maxlen=ROWS)
        self.open, self.arrival = set(), asyncio.Event()
        self.add('The server started')

    def add(self, text):
        self.notes.append(Note(next(self.numbers), text, len(self.open)))
        self.arrival.set()
        self.arrival = asyncio.Event()

    def rows(self): return [note.row() for note in reversed(self.notes)]

    def everything(self):
        "For a page whose last note is not known any more."
        changes = swap.update(self.rows(), '#notes'), swap.update(len(self.open), '#streams')
        return replace(to_event(changes), id=self.notes[-1].id)

    def since(self, id):
        ids = [note.id for note in self.notes]
        if id not in ids: return [self.everything()]
        return [note.event() for note in self.notes][ids.index(id) + 1:]

    async def follow(self, id):
        "The events after `id`, those that are there and those that come."
        while True:
            arrival = self.arrival
            for event in self.since(id):
                yield event
                id = event.id
            await arrival.wait()

log, tabs, streams = Log(), count(1), count(1)

@rt('/')
async def index():
    tab = next(tabs)
    log.add(f'Tab {tab} was opened')
    look = ('Open this page in more tabs: the server still has one stream, because the tabs of a '
            'browser share it. Then close the tab that holds it. Another takes over and goes on after '
            'the last id that it has, so no number is missing in its list.')
    fresh = HttpHeader('cache-control', 'no-store')  # or Back might show the number of another tab
    return fresh, *example(f'Tab {tab}', look,
        Figure(P('Open streams on the server', Strong(len(log.open), id='streams')),
               Div(I(), id='wire', cls='wire'),
               Div('Tabs of this browser', Ol(Li(f'Tab {tab}'), id='tabs', cls='tabs')), cls='sharing'),
        P('This browser has no Web Locks here, so each tab has a stream of its own and does not know '
          'of the others.', id='alone', hidden=True),
        Div(A('Another tab', href=index, target='_blank', cls='button'),
            Button('Say hello', hx_post=hello.to(tab=tab), hx_swap='none'), cls='bar'),
        Ol(*log.rows(), id='notes', aria_label='Events'),
        SSESource(events, after=log.notes[-1].id, shared=True),
        Script(src='/tabs.js', type='module'), code=__file__)

@rt
async def hello(tab: int): log.add(f'Tab {tab} says hello')

@rt
@sse
async def events(last_event_id: str | None = None):
    "What happens after the last event that the browser has seen."
    stream = next(streams)
    log.open.add(stream)
    log.add(f'Stream {stream} was opened')
    try:
        async for event in log.follow(last_event_id): yield event
    finally:
        log.open.remove(stream)
        log.add(f'Stream {stream} was closed')
