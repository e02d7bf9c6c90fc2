"A to-do list over fastlite: whoever writes to its table changes every page, be it a visitor or a shell."
import shlex, sys
from contextlib import suppress
from shutil import which
from tempfile import TemporaryDirectory

from fasthtml.common import *
from fasthtml_sse import *
from fastlite import NotFoundError, database

from .layout import example

rt = APIRouter('/todo')

KEPT, LONG = 10, 60  # how many rows are kept, those added last, and letters of a title
GONE = suppress(NotFoundError)  # somebody else was faster

folder = TemporaryDirectory(prefix='fasthtml-sse-')  # it goes when the server does
db = database(f'{folder.name}/todo.db')
db.conn.set_busy_timeout(2000)  # ms that it waits while somebody else writes
todo = db.t.todo.create(id=int, title=str, done=bool, pk='id', not_null=['title'], defaults=dict(done=False))
db.execute(f'create trigger few after insert on todo begin delete from todo where id <= new.id - {KEPT}; end')
todo.insert_all([dict(title='Feed the starter'), dict(title='Buy rye flour', done=True), dict(title='Sharpen the bread knife')])

shell = shlex.join([*(['sqlite3'] if which('sqlite3') else [sys.executable, '-m', 'apsw']), f'{folder.name}/todo.db'])

data = Channel(db)
data.publish_table('todo')

def item(id, title, done):
    return Li(Input(type='checkbox', name='done', value='1', checked=bool(done), aria_label='Done', hx_post=tick.to(id=id)),
              Input(name='title', value=title, maxlength=LONG, aria_label='Title', hx_post=rename.to(id=id)),
              Button('×', aria_label=f'Remove {title}', hx_post=remove.to(id=id)), id=f'todo-{id}')

def todo_list():
    "What pages show of the table."
    rows = todo(order_by='id')
    return Div(Ul(*[item(**row) for row in rows]), P(sum(not row['done'] for row in rows), f' of {len(rows)} to do'), id='todos')

todos = data.live(todo_list, 'todo')

@rt('/')
async def index():
    after = await data.tail()  # before the table is read
    look = ('No handler publishes here. The table does, in the same transaction, whoever writes to it: you in two windows, or a '
            'terminal of this machine, by the command below. What you type in a row stays while others change the list.')
    return example('To do', look, Div(
        Form(Input(name='title', placeholder='What is to be done?', required=True, maxlength=LONG, autocomplete='off', aria_label='New'),
             Button('Add'), hx_post=add, hx_on__after_request='if (event.detail.successful) this.reset()'),
        todo_list(), hx_swap='none', cls='todo'),
        Pre(Code(f'{shell} ".timeout 2000" "insert into todo (title) values (\'From a terminal\')"'), tabindex=0, cls='command'),
        SSESource(changes, after=after), code=__file__)

@rt
def changes(): return todos.response()

@rt
def add(title: str):
    if title.strip(): todo.insert(title=title.strip()[:LONG])

@rt
def tick(id: int, done: bool = False):
    with GONE: todo.update(id=id, done=done)

@rt
def rename(id: int, title: str = ''):
    with GONE: todo.update(id=id, title=title.strip()[:LONG]) if title.strip() else todo.delete(id)

@rt
def remove(id: int):
    with GONE: todo.delete(id)
