"A job with a progress bar: all that it needs, in twenty-five lines."
import time
from fasthtml.common import *
from fasthtml_sse import *

app, rt = fast_app(hdrs=sse_headers())
jobs = Channel()

def show(text, n=0, total=1): return swap.update((Progress(value=n, max=total), P(text)), '#job')

def bake(total):
    for n in range(1, total + 1):
        if n == 50: raise RuntimeError('Oven 7 is too hot')
        time.sleep(0.02)
        yield show(f'{n} of {total} loaves', n, total)

@rt
def index(): return Titled('Bakery', Form(Input(name='total', value=40), Button('Bake'), action=start, method='post'))
@rt
async def start(total: int):
    run = await jobs.run(lambda: bake(total), failed=show('The oven is broken.'), stopped=show('Cancelled.'))
    return Redirect(job.to(id=run.id))
@rt
def job(id: str):
    return Titled('Loaves', Button('Cancel', hx_post=stop.to(id=id), hx_swap='none'), Div(id='job'), SSESource(watch.to(id=id)))
@rt
def watch(id: str): return jobs.watch(id, since='latest', lost=show('The server was restarted.'))
@rt
async def stop(id: str): await jobs.stop(id)

serve()
