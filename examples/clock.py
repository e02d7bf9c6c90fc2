"A clock that ticks: the smallest live page."
import asyncio
from datetime import datetime
from itertools import count

from fasthtml.common import *
from fasthtml_sse import *

from .layout import example

rt = APIRouter('/clock')

def face(tick):
    "The clock as it stands now."
    now = datetime.now()
    return (Time(f'{now:%H:%M:}', Span(f'{now:%S}'), datetime=f'{now:%H:%M:%S}'),
            P(f'{now:%A}, {now.day} {now:%B %Y}'), P(f'Tick {tick} of this connection'))

@rt('/')
def index():
    look = ('The handler is a generator, and what it yields arrives in the page: a new face every '
            'second. Each visitor has a generator of their own: reload, and the ticks start anew; '
            'leave, and it ends.')
    return example('Clock', look, Div(face(0), id='clock', role='timer'), SSESource(ticks), code=__file__)

@rt
@sse
async def ticks():
    "A face for every second, for as long as somebody looks."
    for tick in count(1):
        yield swap.update(face(tick), '#clock')
        await asyncio.sleep(1.01 - datetime.now().microsecond / 1e6)
