"A plan whose cards everyone moves: who comes, or comes back too late, gets all of it."
from fasthtml.common import *
from fasthtml_sse import *

from .layout import example

rt = APIRouter('/plan')

STAGES = {1: 'To do', 2: 'Doing', 3: 'Done'}
TASKS = {1: 'Invite everyone', 2: 'Borrow chairs', 3: 'Bake the cake',
         4: 'Choose the music', 5: 'Hang the lanterns', 6: 'Chill the drinks'}

plan = Channel(MemoryLog(maxlen=5))
places = {1: 3, 2: 2, 3: 2, 4: 1, 5: 1, 6: 1}  # the stage of each task, in the order in which they got there

def arrow(task, cls, to):
    "A button that moves a card to a stage, if there is one."
    if to not in STAGES: return None
    return Button(id=f'{cls}-{task}', cls=cls, aria_label=f'{TASKS[task]}: {STAGES[to]}',
                  hx_post=move.to(task=task, to=to), hx_swap='none')

def card(task, cls=''):
    stage = places[task]
    return Li(Span(TASKS[task]), arrow(task, 'back', stage - 1), arrow(task, 'on', stage + 1), id=f'card-{task}', cls=cls)

async def whole():
    "All cards where they are now."
    return [swap.update([card(task) for task in places if places[task] == stage], f'#stage-{stage}')
            for stage in STAGES]

@rt('/')
def index():
    look = ('Open this page twice and move a card: only the card travels. A page that is new gets the '
            'snapshot first, which is the whole plan. So does one that was away for more moves than '
            'the log keeps, which are five here, or for a restart of the server.')
    columns = [Section(H2(name, id=f'name-{stage}'), Ul(id=f'stage-{stage}', aria_labelledby=f'name-{stage}'))
               for stage, name in STAGES.items()]
    return example('Plan', look, Div(*columns, cls='stages'), SSESource(changes), code=__file__)

@rt
async def move(task: int, to: int):
    "Put a card below the others of a stage, in every page."
    if task not in TASKS or to not in STAGES: return
    del places[task]
    places[task] = to
    await plan.publish([swap.remove(f'card-{task}'), swap.append(card(task, 'new'), f'#stage-{to}')])

@rt
def changes(): return plan.response(snapshot=whole)
