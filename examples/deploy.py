"A job with an end: steps, progress, and a stream that closes for good."
import asyncio
from dataclasses import replace

from fasthtml.common import *
from fasthtml_sse import *

from .layout import example

rt = APIRouter('/deploy')

STEPS = (('Fetch the source', 6), ('Install packages', 14), ('Run the tests', 20),
         ('Build the site', 10), ('Switch over', 4))  # and how much work each is
TOTAL = sum(work for _, work in STEPS)
PAUSE = 0.12  # seconds for each unit of work

def step(number, state):
    "One line of the plan."
    name, _ = STEPS[number]
    return Li(Span(name), Small(state), id=f'step-{number}', cls=state)

def bar(done):
    "How much of the work is done."
    return Progress(value=done, max=TOTAL, id='bar', aria_label='Work done')

def plan():
    "The job before it starts."
    return Ol(*[step(number, 'waiting') for number in range(len(STEPS))], cls='steps'), bar(0)

@rt('/')
def index():
    look = ('The button brings the element that connects, and the job starts with its stream. Each '
            'event has an id, so a browser that loses the connection goes on where it was. At the end '
            'the stream says “close”, so the job does not run again. Start over halfway: the first '
            'run is ended at once.')
    return example('Deployment', look,
        Div(Button('Deploy', id='start', hx_post=start, hx_target='#job'),
            P('Nothing is running yet.', id='status', role='status'), cls='bar'),
        Div(plan(), id='job'), code=__file__)

@rt
def start():
    "A fresh plan, and the connection that runs it."
    return plan(), SSESource(run), swap.update('Start over', '#start')

@rt
@sse
async def run(last_event_id: str | None = None):
    "Do the work and say how far it is. Several swaps can go in one event, and its id is how much is done."
    done, end = int(last_event_id or 0), 0
    for number, (name, work) in enumerate(STEPS):
        end += work
        if done < end: yield swap.replace(step(number, 'running'), f'step-{number}'), swap.update(f'{name} …', '#status')
        while done < end:
            await asyncio.sleep(PAUSE)
            done += 1
            changes = [swap.replace(bar(done), '#bar')]
            if done == end: changes.append(swap.replace(step(number, 'done'), f'step-{number}'))
            yield replace(to_event(changes), id=str(done))
    yield (swap.update('Deployed, and the stream is closed.', '#status'),
           swap.update('Deploy again', '#start'))
