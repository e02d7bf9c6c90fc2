"A job with an end: steps, progress, and a stream that closes for good."
import asyncio

from fasthtml.common import *
from fasthtml_sse import *

from .layout import connect, example

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
    look = ('The button brings the element that connects, and the job starts with its stream. At '
            'the end the stream says “close”, so the browser does not come back and run the job '
            'again. Start over halfway: the first run is ended at once.')
    return example('Deployment', look,
        Div(Button('Deploy', id='start', hx_post=start, hx_target='#job'),
            P('Nothing is running yet.', id='status', role='status'), cls='bar'),
        Div(plan(), id='job'), code=__file__)

@rt
def start():
    "A fresh plan, and the connection that runs it."
    return plan(), connect(run), swap.update('Start over', '#start')

@rt
@sse
async def run():
    "Do the work and say how far it is. Several swaps can go in one event."
    done = 0
    for number, (name, work) in enumerate(STEPS):
        yield (swap.replace(step(number, 'running'), f'step-{number}'),
               swap.update(f'{name} …', '#status'))
        for _ in range(work):
            await asyncio.sleep(PAUSE)
            done += 1
            yield swap.replace(bar(done), '#bar')
        yield swap.replace(step(number, 'done'), f'step-{number}')
    yield (swap.update('Deployed, and the stream is closed.', '#status'),
           swap.update('Deploy again', '#start'))
