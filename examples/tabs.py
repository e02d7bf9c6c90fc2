"Tabs: one connection for all of them, whichever the visitor closes."
from collections import deque
from dataclasses import replace
from datetime import datetime
from itertools import count

from fasthtml.common import *
from fasthtml_sse import *

from .layout import example

rt = APIRouter('/tabs')

ROWS = 7  # how many events each page holds

log, notes, open_streams = Channel(), deque(maxlen=ROWS), set()
tabs, streams, numbers = count(1), count(1), count(1)

def row(number, text):
    return Li(Small(number), Span(text), Time(f'{datetime.now():%H:%M:%S}'), id=f'note-{number}', cls='new')

def tell(text):
    "Something happened: in every page a row comes and the oldest goes, the count is right, the wire blinks."
    oldest = [swap.remove(notes[0].id)] if len(notes) == ROWS else []
    notes.append(row(next(numbers), text))
    log.publish_sync([swap.prepend(notes[-1], '#notes'), *oldest,
                      swap.update(len(open_streams), '#streams'), swap.update(I(), '#wire')])

def everything():
    "For a page that has missed something, as when the server has been restarted."
    return swap.update([*reversed(notes)], '#notes'), swap.update(len(open_streams), '#streams')

tell('The server started')

@rt('/')
async def index():
    tab = next(tabs)
    tell(f'Tab {tab} was opened')
    after = await log.tail()
    look = ('Open this page in more tabs: the server still has one stream, because the tabs of a '
            'browser share it. Then close the tab that holds it. Another takes over and goes on after '
            'the last id that it has, so no number is missing in its list.')
    fresh = HttpHeader('cache-control', 'no-store')  # or Back might show the number of another tab
    return fresh, *example(f'Tab {tab}', look,
        Figure(P('Open streams on the server', Strong(len(open_streams), id='streams')),
               Div(I(), id='wire', cls='wire'),
               Div('Tabs of this browser', Ol(Li(f'Tab {tab}'), id='tabs', cls='tabs')), cls='sharing'),
        P('This browser has no Web Locks here, so each tab has a stream of its own and does not know '
          'of the others.', id='alone', hidden=True),
        Div(A('Another tab', href=index, target='_blank', cls='button'),
            Button('Say hello', hx_post=hello.to(tab=tab), hx_swap='none'), cls='bar'),
        Ol(*reversed(notes), id='notes', aria_label='Events'),
        SSESource(events, after=after, shared=True),
        Script(src='/tabs.js', type='module'), code=__file__)

@rt
async def hello(tab: int): tell(f'Tab {tab} says hello')

@rt
@sse
async def events(last_event_id: str | None = None):
    "What happens after the last event that the browser has seen. A `Gap` stands for what is not known any more."
    stream = next(streams)
    open_streams.add(stream)
    tell(f'Stream {stream} was opened')
    try:
        async for found in log.subscribe(after=last_event_id):
            yield replace(to_event(everything()), id=found.id) if isinstance(found, Gap) else found.frame
    finally:
        open_streams.remove(stream)
        tell(f'Stream {stream} was closed')
