"A job with a progress bar: the server does it once, and every page shows how far it is."
import time

from fasthtml.common import *
from fasthtml_sse import *

from .layout import example

rt = APIRouter('/job')

LOAVES, PAUSE = 60, 0.15  # how many, and seconds for each
jobs = Channel()

class Baking:
    "The job, and what pages show of it."
    done = 0

    def show(self, text):
        return swap.update((Progress(value=self.done, max=LOAVES, aria_label='Loaves'), P(text)), '#job')

    def loaves(self, breaks):
        "A plain generator, which gets a thread of its own. Each value shows all, so the latest is enough for a page that is new."
        while self.done < LOAVES:
            yield self.show(f'{self.done} of {LOAVES} loaves')
            if breaks and self.done == LOAVES // 2: raise RuntimeError('The oven was told to break')
            time.sleep(PAUSE)
            self.done += 1
        yield self.show(f'All {LOAVES} loaves are baked.')

@rt('/')
def index(id: str = None):
    look = ('Bake, and open this page in more tabs, now or later: all show the same, and the job goes on if nobody looks. '
            'Serve the gallery by “PORT=8000 make demo” and restart it in the middle: the job is lost, and every page says so.')
    return example('Job', look, Div(
        Form(Button('Bake', id='start'), Label(Input(type='checkbox', name='breaks', value='1'), 'break the oven halfway'),
             Button('Cancel', id='cancel', type='button', hx_post=stop.to(id=id), hx_swap='none') if id else None,
             A('Another tab', href='', target='_blank') if id else None,
             action=start, method='post', cls='bar'),
        Div(Progress(value=0, max=LOAVES, aria_label='Loaves'), P('The oven is cold.'), id='job'),
        SSESource(watch.to(id=id), shared=True) if id else None, cls='baking'), code=__file__)

@rt
async def start(breaks: bool = False):
    baking = Baking()
    run = await jobs.run(lambda: baking.loaves(breaks),
        failed=lambda error: baking.show(f'The oven is broken, after {baking.done} loaves.'),
        stopped=lambda: baking.show(f'Cancelled, after {baking.done} loaves.'))
    return Redirect(index.to(id=run.id))

@rt
def watch(id: str): return jobs.watch(id, since='latest', lost=swap.update(P('The server was restarted, and the job is lost.'), '#job'))
@rt
async def stop(id: str): await jobs.stop(id)
