"Live views in Chromium: two windows and a shell write to a table, and each page is right."
import json, subprocess, sys
from threading import Event

import pytest
from fasthtml.common import Form, Input, Li, Title, Ul
from fastlite import database

from fasthtml_sse import Channel, SSESource

from .live import BUILDS, SHIPPED
from .pages import HURRY, browsing, page_app, until

BUILD = [build if build in SHIPPED else pytest.param(build, marks=pytest.mark.full) for build in BUILDS]
SHELL = 'import sqlite3, sys\nwith sqlite3.connect(sys.argv[1], timeout=5) as db: db.execute(*sys.argv[2:])'


class Todos:
    "An app whose page shows a table, and writes to it."
    def __init__(self, build, folder):
        self.path = str(folder/'app.db')
        self.db = database(self.path)
        self.todo = self.db.t.todo.create(id=int, title=str, pk='id')
        self.data, self.renders, self.fails, self.may_connect = Channel(self.db), 0, None, Event()
        self.may_connect.set()
        self.data.publish_table('todo')
        view = self.data.live(self.list, 'todo')
        self.app, rt = page_app(build)
        @rt('/')
        def index(): return Title('Todos'), self.list(), self.form(), SSESource('/changes', id='source')
        @rt('/exact')
        async def exact():
            after = await self.data.tail()
            return Title('Todos'), self.list(), SSESource('/changes', id='source', after=after)
        @rt('/changes')
        def changes():
            self.may_connect.wait(10)
            return view.response()
        @rt('/add')
        def add(title: str): self.todo.insert(title=title)

    def form(self): return Form(Input(name='title', id='title'), hx_post='/add', hx_swap='none', id='form')

    def list(self):
        if self.fails: raise self.fails
        self.renders += 1
        rows = self.db.conn.execute('select id, title from todo order by id').fetchall()
        return Ul(*(Li(title, Input(id=f'note-{id}', name='note'), id=f'todo-{id}') for id, title in rows), id='todos')

    def shell(self, sql): subprocess.run([sys.executable, '-c', SHELL, self.path, sql], check=True)
    def titles(self): return [title for title, in self.db.conn.execute('select title from todo order by id').fetchall()]


@pytest.fixture
def shown(chromium, tmp_path):
    "`shown(build)` is the app and an opener of windows that show it."
    opened = []
    def show(build):
        todos = Todos(build, tmp_path)
        context = browsing(chromium, todos.app, build, script=HURRY)
        opened.append((todos, context))
        site = context.__enter__()
        def window(path='/', state='live'):
            page = site.new_page()
            page.goto(site.site.url + path)
            if state: page.wait_for_selector(f'#source[state={state}]', state='attached')
            return page
        todos.site = site.site
        return todos, window
    yield show
    for _, context in opened: context.__exit__(None, None, None)

def until_lists(page, titles): page.wait_for_function(
    'titles => JSON.stringify([...document.querySelectorAll("#todos li")].map(li => li.firstChild.data)) == titles',
    arg=json.dumps(titles, separators=(',', ':')))

def write(page, title):
    page.fill('#title', title)
    page.press('#title', 'Enter')


@pytest.mark.parametrize('build', BUILD)
def test_two_windows_and_a_shell_write_and_all_lists_are_equal(shown, build):
    todos, window = shown(build)
    ann, bob = window(), window()
    write(ann, 'from Ann')
    write(bob, 'from Bob')
    todos.shell("insert into todo (title) values ('from a shell')")
    until(lambda: len(todos.titles()) == 3)
    for page in (ann, bob): until_lists(page, todos.titles())
    todos.shell("update todo set title = upper(title)")
    todos.shell("delete from todo where id = 2")
    for page in (ann, bob): until_lists(page, todos.titles())
    assert len(todos.titles()) == 2 and todos.titles()[0].isupper()

@pytest.mark.parametrize('build', BUILD)
def test_what_is_typed_into_a_row_survives_the_changes_of_others(shown, build):
    todos, window = shown(build)
    todos.todo.insert(title='one')
    ann = window()
    ann.click('#note-1')
    ann.keyboard.type('half a no')
    todos.shell("insert into todo (id, title) values (-1, 'before it'), (9, 'behind it')")
    until_lists(ann, todos.titles())
    ann.keyboard.type('te')
    assert ann.input_value('#note-1') == 'half a note'

@pytest.mark.parametrize('build', BUILD)
def test_a_page_that_was_away_for_a_thousand_changes_gets_one_event(shown, build):
    todos, window = shown(build)
    ann = window()
    todos.todo.insert(title='one')
    until_lists(ann, ['one'])
    todos.site.stop()
    ann.wait_for_selector('#source[state=reconnecting]', state='attached')
    for n in range(1000): todos.db.conn.execute('update todo set title = ?', [f'{n}'])
    before = todos.renders
    todos.site.start()
    until_lists(ann, ['999'])
    ann.wait_for_selector('#source[state=live]', state='attached')
    assert todos.renders == before + 1
    todos.site.stop()
    ann.wait_for_selector('#source[state=reconnecting]', state='attached')
    todos.site.start()
    ann.wait_for_selector('#source[state=live]', state='attached')
    ann.wait_for_timeout(200)  # for what would come though nothing has changed
    assert todos.renders == before + 1

@pytest.mark.parametrize('path', ['/', '/exact'])
@pytest.mark.parametrize('build', BUILD)
def test_a_page_that_is_rendered_before_a_change_and_connects_after_it_is_right(shown, build, path):
    todos, window = shown(build)
    todos.may_connect.clear()
    page = window(path, state=None)
    assert page.locator('#todos li').count() == 0
    todos.todo.insert(title='meanwhile')
    todos.may_connect.set()
    until_lists(page, ['meanwhile'])

@pytest.mark.parametrize('build', BUILD)
def test_a_function_that_fails_leaves_the_page_as_it_was(shown, build, caplog):
    todos, window = shown(build)
    todos.todo.insert(title='one')
    ann = window()
    until_lists(ann, ['one'])
    todos.fails = LookupError('no table today')
    todos.todo.insert(title='two')
    until(lambda: 'no table today' in caplog.text)
    assert ann.locator('#todos li').count() == 1 and ann.get_attribute('#source', 'state') == 'live'
    todos.fails = None
    todos.todo.insert(title='three')
    until_lists(ann, ['one', 'two', 'three'])
