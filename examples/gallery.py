"The gallery: a page of cards, and the examples behind them."
from pathlib import Path
from secrets import token_hex

from fasthtml.common import *
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from . import answer, board, cells, chat, clock, deploy, job, plan, script, tabs, todo
from .layout import frame, headers, npm

app, rt = fast_app(
    default_hdrs=False, hdrs=headers, canonical=False, secret_key=token_hex(), static_path=Path(__file__).parent/'static',
    routes=[Mount('/npm', StaticFiles(directory=npm, check_dir=False))], htmlkw=dict(lang='en'))

for example in (clock, answer, job, deploy, todo, board, chat, plan, cells, tabs, script): example.rt.to_app(app)

def card(page, title, text, *picture):
    "A card that leads to `page`."
    return Li(A(Div(*picture, cls='picture', aria_hidden='true'), H2(title), P(text), href=page))

def line(mark, *cells): return P(I(cls=mark), *map(Span, cells))

@rt
def index():
    return frame('Gallery',
        H1('Live pages from plain Python'),
        P('A handler yields, the page changes. Each card opens a page that stays live over one connection, '
          'and shows the code that does it.', cls='look'),
        Ul(card(clock.index, 'Clock', 'The smallest live page: a generator that yields once a second.',
                Strong('10:08:', Span('42'))),
           card(answer.index, 'Answer', 'What a model writes, word by word; it survives a reload, and can be stopped.',
                P('Why is the sky blue?', cls='asked'), *[Hr(cls='words') for _ in range(3)]),
           card(job.index, 'Job', 'A progress bar that all pages share, also those that come late; cancel, failure, restart.',
                P('37 of 60 loaves'), *[Hr() for _ in range(3)]),
           card(deploy.index, 'Deployment', 'Steps and progress of a job; a stream with an end that stays ended.',
                line('done', 'Fetch the source'), line('done', 'Install packages'), line('running', 'Run the tests'), Hr()),
           card(todo.index, 'To do', 'A table that two windows and a terminal change at once: a write is the publish.',
                line('done', 'Feed the starter'), line('todo', 'Buy rye flour'), line('todo', 'Sharpen the knife')),
           card(board.index, 'Arrivals', 'A table whose rows come, change and go, several changes to an event.',
                line('', '10:09', 'Trieste', '4'), line('', '10:11', 'Utrecht', '7'), line('', '10:14', 'Malmö', '2')),
           card(chat.index, 'Chat', 'Rooms, a history, and counts that go up when something is said elsewhere.',
                line('said', 'Is there any cake?'), line('said', 'There was.'), line('said', 'I see.')),
           card(plan.index, 'Plan', 'Cards that everyone moves. Who comes late gets all of it first.',
                Div(*[Ul(Li()) for _ in range(3)], cls='stages')),
           card(cells.index, 'Cells', '2,500 cells, five times a second, rendered once for all who look, and for nobody else.',
                Div(*[I(cls='alive' if n in (3, 15, 19, 23, 24, 25, 30, 31, 32, 41, 43) else 'dead') for n in range(55)], cls='field')),
           card(tabs.index, 'Tabs', 'One connection for all tabs of a browser, whichever of them is closed.',
                Strong('1'), Div(cls='wire'), Ol(Li('Tab 1'), Li('Tab 2', cls='holder'), Li('Tab 3'), cls='tabs')),
           card(script.index, 'Script', 'Lines that another process publishes: a log in a file, which outlives the server.',
                Code('$ python -m examples.script "Hello"'), line('', '10:08:42', 'Hello')),
           cls='cards'))
