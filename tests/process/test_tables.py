"Tables that publish, and events within the app's transactions: what is told, by whom it may be written, and what is refused."
import asyncio, json, random, sqlite3, subprocess, sys, time
from functools import partial
from queue import SimpleQueue
from statistics import median

import pytest
from hypothesis import given, settings, strategies as st

from fasthtml_sse import Channel, Gap, LogError, MemoryLog, RedisLog, SQLiteLog
from fasthtml_sse.broadcast import sqlite
from tests.support import ROOT
from tests.support.clock import PATIENCE
from tests.support.logs import read
from tests.support.tables import EACH, app, by_apsw, by_fastlite, by_sqlite3, changes_in, check_counts, check_whole, close, event_in
from tests.support.tables import opened, shell, texts_in

pytestmark = pytest.mark.anyio
each_library = pytest.mark.parametrize('connect', EACH)
TODO = 'create table todo (id integer primary key, title text)'
NOTE = 'create table note (id integer primary key)'


# Which changes are told

SETUP = [
    'pragma foreign_keys = on',
    'create table todo (id integer primary key, title text unique, done integer default 0)',
    'create table note (id integer primary key, todo integer references todo on delete cascade, said text)',
    'create table seen (id integer primary key, title text)',
    "create trigger see after update of done on todo when new.done begin insert into seen (title) values (new.title); end",
    "insert into todo values (1, 'one', 0), (2, 'two', 0)",
    "insert into note values (5, 1, 'x'), (6, 1, 'y'), (7, 2, 'z')",
]
PUBLISHED = 'todo', 'note', 'seen'
OPERATIONS = {
    'insert': (["insert into todo (title) values ('three')"], 'todo insert 3'),
    'insert of many': (["insert into todo (title) values ('three'), ('four')"], 'todo insert 3, todo insert 4'),
    'insert from a query': (["insert into todo (title) select title || '!' from todo order by id"], 'todo insert 3, todo insert 4'),
    'returning': (["insert into todo (title) values ('three'), ('four') returning id, title",
        "update todo set done = 0 where id = 1 returning *", "delete from todo where id = 3 returning id"],
        'todo insert 3, todo insert 4, todo update 1, todo delete 3'),
    'insert or ignore': (["insert or ignore into todo (title) values ('one'), ('three')"], 'todo insert 3'),
    'replace': (["replace into todo values (2, 'two', 3)"], 'note delete 7, todo insert 2', 'todo delete 2, note delete 7, todo insert 2'),
    'insert or replace by another row': (["insert or replace into todo values (9, 'two', 3)"], 'note delete 7, todo insert 9',
        'todo delete 2, note delete 7, todo insert 9'),
    'upsert': (["insert into todo (id, title) values (2, 'second'), (3, 'three') on conflict (id) do update set title = excluded.title"],
        'todo update 2, todo insert 3'),
    'upsert that does nothing': (["insert into todo (title) values ('one') on conflict do nothing"], ''),
    'update': (["update todo set title = title || '!'"], 'todo update 1, todo update 2'),
    'update to the same': (["update todo set title = title where id = 2"], 'todo update 2'),
    'update of none': (["update todo set title = 'x' where id = 9"], ''),
    'update or ignore': (["update or ignore todo set title = 'two'"], 'todo update 2'),
    'update of the number': (["delete from note where todo = 2", "update todo set id = 8 where id = 2"], 'note delete 7, todo update 8'),
    'delete': (["delete from note where said > 'x'"], 'note delete 6, note delete 7'),
    'delete of all': (["delete from note"], 'note delete 5, note delete 6, note delete 7'),
    'cascade': (["delete from todo where id = 1"], 'todo delete 1, note delete 5, note delete 6'),
    'trigger of the app': (["update todo set done = 1"], 'todo update 1, seen insert 1, todo update 2, seen insert 2'),
    'rollback': (['begin', "insert into todo (title) values ('three')", 'savepoint s', 'delete from note', 'rollback to s', 'release s',
        "update todo set done = 0 where id = 1", 'rollback'], ''),
    'savepoint': (['begin', "insert into todo (title) values ('three')", 'savepoint s', 'delete from note', 'rollback to s', 'commit'],
        'todo insert 3'),
}

def listed(text): return sorted(tuple(int(word) if word.isdigit() else word for word in one.split()) for one in text.split(', ') if one)

def run_all(db, statements):
    "What an app may see of its statements."
    found = []
    for statement in statements:
        cursor = db.execute(statement)
        found.append((list(cursor), getattr(cursor, 'rowcount', None), getattr(cursor, 'lastrowid', None)))
        found += [list(db.execute(f'select {function}()')) for function in ('changes', 'last_insert_rowid')]
    return found

@pytest.mark.parametrize('name', OPERATIONS)
@each_library
async def test_each_change_of_a_row_is_told_and_the_app_sees_no_difference(tmp_path, connect, name):
    statements, expected, *recursive = OPERATIONS[name]
    if connect is not by_sqlite3 and recursive: expected, = recursive  # fastlite has apsw set recursive_triggers
    plainly = app(tmp_path/'plain.db', *SETUP, connect=connect)
    async with app(tmp_path/'app.db', *SETUP, connect=connect, publish=PUBLISHED) as (db, _), plainly as (plain, _):
        assert run_all(db, statements) == run_all(plain, statements)
        assert sorted(changes_in(db)) == listed(expected)  # SQLite does not promise an order within a statement
        check_counts(db)

async def test_of_many_executions_each_is_told(tmp_path):
    async with app(tmp_path/'app.db', TODO, publish=['todo']) as (db, _), app(tmp_path/'plain.db', TODO) as (plain, _):
        many = lambda db: db.executemany('insert into todo (title) values (?)', [('a',), ('b',), ('c',)]).rowcount
        assert many(db) == many(plain) == 3
        assert changes_in(db) == [('todo', 'insert', n) for n in (1, 2, 3)]

FASTLITE = {
    'insert': (lambda db, t: t.insert(title='three'), 'insert 3'),
    'insert_all': (lambda db, t: t.insert_all([dict(title='three'), dict(title='four')]) and None, 'insert 3, insert 4'),
    'update': (lambda db, t: t.update(id=2, title='second'), 'update 2'),
    'upsert of one that is there': (lambda db, t: t.upsert(id=2, title='second'), 'update 2'),
    'upsert of a new one': (lambda db, t: t.upsert(id=9, title='nine'), 'insert 9, update 9'),
    'delete': (lambda db, t: t.delete(1) and None, 'delete 1'),
    'delete_where': (lambda db, t: t.delete_where('id > ?', [0]) and None, 'delete 1, delete 2'),
    'replace': (lambda db, t: t.insert(id=2, title='second', replace=True), 'delete 2, insert 2'),
    'ignore': (lambda db, t: t.insert(id=2, title='second', ignore=True), ''),
    'q': (lambda db, t: db.q("insert into todo (title) values ('three') returning *"), 'insert 3'),
}

@pytest.mark.parametrize('name', FASTLITE)
async def test_fastlite_gives_what_it_gives_and_each_row_is_told(tmp_path, name):
    change, expected = FASTLITE[name]
    rows = TODO, "insert into todo values (1, 'one'), (2, 'two')"
    plainly = app(tmp_path/'plain.db', *rows, connect=by_fastlite)
    async with app(tmp_path/'app.db', *rows, connect=by_fastlite, publish=['todo']) as (db, _), plainly as (plain, _):
        def seen(db):
            table = db.t.todo
            given = change(db, table)
            return given, table.last_pk, list(table()), db.conn.last_insert_rowid(), db.conn.changes()
        assert seen(db) == seen(plain)
        assert sorted(changes_in(db)) == listed(', '.join(f'todo {one}' for one in expected.split(', ') if one))

async def test_a_block_of_fastlite_publishes_all_of_it_or_nothing(tmp_path):
    async with app(tmp_path/'app.db', TODO, connect=by_fastlite, publish=['todo']) as (db, channel):
        with pytest.raises(ZeroDivisionError), db.conn:
            db.t.todo.insert(title='one')
            channel.publish_within(db, 'one', 'said')
            1/0
        assert changes_in(db) == [] == texts_in(db, 'said')
        with db.conn:
            db.t.todo.insert(title='one')
            channel.publish_within(db, 'one', 'said')
        assert (changes_in(db), texts_in(db, 'said')) == ([('todo', 'insert', 1)], ['one'])

@pytest.mark.parametrize('how', ['ignore', 'replace', 'fail', 'rollback', 'abort'])
@each_library
async def test_how_the_app_resolves_conflicts_does_not_touch_the_log(tmp_path, connect, how):
    "In SQLite it holds for the statements of triggers, too."
    async with app(tmp_path/'app.db', TODO, connect=connect, publish=['todo'], maxlen=2) as (db, _):
        for n in range(10): db.execute(f"insert or {how} into todo values ({n}, 'x')")
        assert changes_in(db)[-1] == ('todo', 'insert', 9) and len(changes_in(db)) <= 2
        check_counts(db)


# Names, and kinds of tables

NAMES = ['two words', 'it\'s "so"', 'a_of_b', 'of', 'select', 'a.b', 'main.todo', '[x]', 'a]b', '%s {x} :y ?', '日本 ☃', 'Ä', "'", '"',
    'sse', 'rowid', 'new', '\ttab', '-- x']

@pytest.mark.parametrize('name', NAMES)
async def test_a_table_may_have_any_name(tmp_path, name):
    quoted = '"' + name.replace('"', '""') + '"'
    async with app(tmp_path/'app.db', f'create table {quoted} (id integer primary key, "a b")') as (db, channel):
        channel.publish_table(name)
        subscription = channel.subscribe(name, since='start')
        for change in (f'insert into {quoted} values (3, 4)', f'update {quoted} set "a b" = 5', f'delete from {quoted}'): db.execute(change)
        assert changes_in(db, name) == [(name, op, 3) for op in ('insert', 'update', 'delete')]
        assert json.loads((await read(subscription))[0]) == {'op': 'insert', 'rowid': 3}
        channel.unpublish_table(name)
        db.execute(f'insert into {quoted} values (3, 4)')
        assert len(changes_in(db, name)) == 3

KINDS = {
    'create table t (a)': 1,
    'create table t (a, id integer primary key autoincrement)': 1,
    'create table t (a text) strict': 1,
    'create table t (a primary key) without rowid': None,
    'create table t (a, b as (a || 1), c as (a || 2) stored)': 1,
    'create table t (a, rowid)': 1,
    'create table t (a, _rowid_ as (100), oid as (100))': 1,
    'create table t (a, rowid integer default 70, primary key (rowid, a))': 1,
    "create table t (a, _ROWID_ default 'x')": 1,
    "create table t (a, rowid, oid, _rowid_)": None,
    "create table t (a, rowid integer primary key)": 1,
    "create table t (a, rowid integer primary key desc)": 1,
    "create table t (a, rowid, _rowid_ default 'x', oid integer primary key)": None,
}

@pytest.mark.parametrize('table', KINDS)
async def test_a_row_is_told_by_its_number_if_it_has_one(tmp_path, table):
    async with app(tmp_path/'app.db', table, publish=['t']) as (db, _):
        for statement in ("insert into t (a) values ('x')", "update t set a = 'y'", 'delete from t'): db.execute(statement)
        assert changes_in(db) == [('t', op, KINDS[table]) for op in ('insert', 'update', 'delete')]

@pytest.mark.parametrize('column', ['rowid', 'oid', '_rowid_'])
async def test_a_column_that_is_added_never_makes_a_write_fail(tmp_path, column):
    async with app(tmp_path/'app.db', TODO, publish=['todo']) as (db, _):
        db.execute(f'alter table todo add column {column}')
        db.execute('insert into todo (id) values (7)')
        assert changes_in(db)[0][2] == (None if column == '_rowid_' else 7)

async def test_an_app_that_trusts_no_schema_writes(tmp_path):
    async with app(tmp_path/'app.db', TODO, 'pragma trusted_schema = off', publish=['todo'], max_age=60.0) as (db, _):
        db.execute('insert into todo default values')
        assert changes_in(db) == [('todo', 'insert', 1)]

async def test_the_key_may_be_renamed(tmp_path):
    async with app(tmp_path/'app.db', TODO, publish=['todo']) as (db, channel):
        db.execute('alter table todo rename column id to key')
        for _ in range(2):
            db.execute('insert into todo default values')
            channel.publish_table('todo')
        assert changes_in(db) == [('todo', 'insert', 1), ('todo', 'insert', 2)]

OUR_TRIGGERS = "select name from sqlite_master where type = 'trigger' and name like 'sse!_%!_of!_%' escape '!'"
REFUSED = {
    'names': "is no ordinary table (but view)",
    'words': "is no ordinary table (but virtual)",
    'words_data': "is no ordinary table (but shadow)",
    'passing': "there is no table 'passing' in this file; there is sse, todo",
    'elsewhere': "there is no table 'elsewhere' in this file",
    'Todo': "there is no table 'Todo' in this file",
    'nothing': "there is no table 'nothing' in this file",
    'sse_events': "are the log's own",
    'sse_notes': "are the log's own",
    'sqlite_master': "there is no table 'sqlite_master'",
    'two\nlines': 'event must not contain CR, LF or NUL',
}

@pytest.mark.parametrize('name', REFUSED)
async def test_what_cannot_publish_is_refused_and_leaves_nothing_behind(tmp_path, name):
    with opened(tmp_path/'other.db') as other: other.execute('create table elsewhere (id)')
    others = ['create table sse (id)', 'create table sse_notes (id)', 'create view names as select title from todo',
        'create virtual table words using fts5(word)', 'create temp table passing (id)', 'create table "two\nlines" (id)',
        f"attach '{tmp_path/'other.db'}' as other"]
    async with app(tmp_path/'app.db', TODO, *others) as (db, channel):
        with pytest.raises(ValueError) as refused: channel.publish_table(name)
        assert REFUSED[name] in str(refused.value)
        assert not list(db.execute('select key from sse_records')) and not list(db.execute(OUR_TRIGGERS)) and not db.in_transaction

async def test_events_are_never_in_utf_16(tmp_path):
    async with app(tmp_path/'app.db', "pragma encoding = 'UTF-16'", TODO) as (db, channel):
        with pytest.raises(ValueError, match='UTF-16'): channel.publish_table('todo')
        subscription = channel.subscribe()
        with pytest.raises(asyncio.TimeoutError): await asyncio.wait_for(anext(subscription), 0.05)
        db.execute('begin')
        channel.publish_within(db, 'schön')
        db.execute('commit')
        assert await read(channel.subscribe(since='start')) == ['schön']

async def test_a_file_with_what_this_process_cannot_read_publishes(tmp_path):
    "A module or a function that only the app has loaded, and a view of a table that is gone."
    with opened(tmp_path/'app.db') as db:
        db.create_function('mine', 1, lambda value: value, deterministic=True)
        db.execute(TODO)
        db.execute('create index by_mine on todo (mine(title))')
        db.execute('create view broken as select * from gone')
        db.execute('pragma writable_schema = on')
        db.execute("insert into sqlite_master values ('table', 'other', 'other', 0, 'CREATE VIRTUAL TABLE other USING not_loaded(x)')")
    async with app(tmp_path/'app.db', publish=['todo']) as (db, _):
        db.create_function('mine', 1, lambda value: value, deterministic=True)
        db.execute("insert into todo values (3, 'x')")
        assert changes_in(db) == [('todo', 'insert', 3)]


# What a table publishes, for how long

async def test_a_table_that_is_published_again_tells_each_row_once_and_nothing_else(tmp_path):
    async with app(tmp_path/'app.db', TODO, publish=['todo', 'todo']) as (db, channel):
        db.execute('insert into todo default values')
        channel.publish_table('todo')
        again = Channel(SQLiteLog(db, maxlen=7))  # as after a restart, with another setting
        again.publish_table('todo')
        db.execute('insert into todo default values')
        assert changes_in(db) == [('todo', 'insert', 1), ('todo', 'insert', 2)]
        assert len(list(db.execute(OUR_TRIGGERS))) == 3
        await again.aclose()

async def test_the_triggers_of_a_file_are_not_made_anew_without_need(tmp_path):
    "That would be a change of the schema, after which each connection reads it again."
    async with app(tmp_path/'app.db', TODO, publish=['todo']) as (db, channel):
        before = sqlite.schema_of(db)
        channel.publish_table('todo')
        assert sqlite.schema_of(db) == before

async def test_a_table_may_change_its_topic(tmp_path):
    async with app(tmp_path/'app.db', TODO, publish=['todo']) as (db, channel):
        db.execute('insert into todo default values')
        channel.publish_table('todo', 'lists')
        db.execute('insert into todo default values')
        assert changes_in(db, 'todo') == [('todo', 'insert', 1)] and changes_in(db, 'lists') == [('todo', 'insert', 2)]

EIGHT = """
import os, sqlite3, sys
from fasthtml_sse import Channel
gate, opens = os.pipe()
children = []
for n in range(8):
    children.append(os.fork())
    if children[-1]: continue
    os.close(opens)
    os.read(gate, 1)  # until nobody holds it
    db = sqlite3.connect(sys.argv[1], timeout=30)
    for _ in range(3): Channel(db).publish_table('todo')
    with db: db.execute('insert into todo default values')
    os._exit(0)
os.close(opens)
assert not any(os.waitpid(child, 0)[1] for child in children)
"""

async def test_eight_processes_publish_a_table_at_once(tmp_path):
    with opened(tmp_path/'app.db') as db: db.execute(TODO)
    process = await asyncio.create_subprocess_exec(sys.executable, '-c', EIGHT, str(tmp_path/'app.db'), cwd=ROOT)
    assert await process.wait() == 0
    with opened(tmp_path/'app.db') as db:
        assert sorted(changes_in(db)) == [('todo', 'insert', n) for n in range(1, 9)]
        check_whole(db)

@each_library
async def test_a_table_is_unpublished_and_the_others_go_on(tmp_path, connect):
    async with app(tmp_path/'app.db', TODO, NOTE, connect=connect, publish=['todo', 'note']) as (db, channel):
        for name in ('todo', 'todo', 'nothing', 'sse_events'): channel.unpublish_table(name)
        for table in ('todo', 'note'): db.execute(f'insert into {table} default values')
        assert changes_in(db) == [('note', 'insert', 1)]
        channel.publish_table('todo')
        db.execute('insert into todo default values')
        assert changes_in(db) == [('note', 'insert', 1), ('todo', 'insert', 2)]

@pytest.mark.parametrize('is_there', [True, False])
async def test_a_table_is_unpublished_in_whatever_case_its_name_is_written(tmp_path, is_there):
    async with app(tmp_path/'app.db', TODO, publish=['todo']) as (db, channel):
        if not is_there: db.execute('drop table todo')
        channel.unpublish_table('TODO')
        assert not list(db.execute('select key from sse_records')) and not list(db.execute(OUR_TRIGGERS))

async def test_a_table_that_is_renamed_goes_on_until_its_new_name_is_published(tmp_path):
    async with app(tmp_path/'app.db', TODO, publish=['todo']) as (db, channel):
        db.execute('alter table todo rename to task')
        db.execute('insert into task default values')
        assert changes_in(db, 'todo') == [('todo', 'insert', 1)]
        channel.publish_table('task')
        db.execute('insert into task default values')
        assert changes_in(db, 'task') == [('task', 'insert', 2)] and len(changes_in(db)) == 2
        assert list(db.execute('select key from sse_records')) == [('table task',)]

@pytest.mark.parametrize('name', ['todo', 'task'])
async def test_a_table_that_is_renamed_is_unpublished_by_either_name(tmp_path, name):
    async with app(tmp_path/'app.db', TODO, publish=['todo']) as (db, channel):
        db.execute('alter table todo rename to task')
        channel.unpublish_table(name)
        db.execute('insert into task default values')
        assert changes_in(db) == [] and not list(db.execute('select key from sse_records'))

async def test_a_new_table_under_the_name_of_one_that_was_renamed(tmp_path):
    async with app(tmp_path/'app.db', TODO, publish=['todo']) as (db, channel):
        for statement in ('alter table todo rename to old', TODO): db.execute(statement)
        channel.publish_table('todo')
        for table in ('todo', 'old'): db.execute(f'insert into {table} default values')
        assert changes_in(db) == [('todo', 'renew', None), ('todo', 'insert', 1)]

async def test_a_table_in_an_open_transaction_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, 'WAIT', 0.1)
    async with app(tmp_path/'app.db', TODO) as (db, channel):
        db.execute('begin immediate')
        with pytest.raises(LogError, match='only publish_within works'): channel.publish_table('todo')
        db.execute('insert into todo default values')
        db.execute('commit')
        channel.publish_table('todo')
        db.execute('insert into todo default values')
        assert changes_in(db) == [('todo', 'insert', 2)]


# Migrations

async def told(subscription, n=1):
    "The next `n` changes, as `changes_in` gives them."
    async with asyncio.timeout(PATIENCE): events = [event_in((await anext(subscription)).frame) for _ in range(n)]
    return [(event.event, *json.loads(event.data).values()) for event in events]

MIGRATIONS = {
    'dropped and made anew': ['drop table todo', TODO],
    "by SQLite's own advice": ['begin', 'create table new (id integer primary key, title text, extra)',
        'insert into new (id, title) select id, title from todo', 'drop table todo', 'alter table new rename to todo', 'commit'],
    'by a copy of the old one': ['alter table todo rename to old', TODO, 'insert into todo select * from old', 'drop table old'],
    'its triggers dropped': ['drop trigger sse_update_of_todo'],
}

@pytest.mark.parametrize('name', MIGRATIONS)
async def test_who_follows_renews_the_triggers_that_a_migration_of_another_process_has_dropped(tmp_path, name):
    async with app(tmp_path/'app.db', TODO, publish=['todo']) as (db, channel), shell(tmp_path/'app.db') as other:
        subscription = channel.subscribe('todo')
        await other.run('insert into todo (id) values (7)')
        assert await told(subscription) == [('todo', 'insert', 7)]
        await other.run(*MIGRATIONS[name])
        while (found := await told(subscription)) != [('todo', 'renew', None)]: assert name == 'by a copy of the old one', found
        await other.run('insert into todo (id) values (8)', 'update todo set title = 1 where id = 8')
        assert await told(subscription, 2) == [('todo', 'insert', 8), ('todo', 'update', 8)]
        assert len([change for change in changes_in(db) if change[1] == 'renew']) == 1

@pytest.mark.parametrize('change', ['add column extra', 'drop column title', 'rename column title to name'])
async def test_a_migration_that_alters_a_column_goes_on(tmp_path, change):
    async with app(tmp_path/'app.db', TODO, publish=['todo']) as (db, channel), shell(tmp_path/'app.db') as other:
        subscription = channel.subscribe('todo')
        await other.run('insert into todo default values')
        await told(subscription)
        await other.run(f'alter table todo {change}', 'insert into todo default values')
        assert await told(subscription) == [('todo', 'insert', 2)]

async def test_fastlites_transform(tmp_path):
    async with app(tmp_path/'app.db', TODO, connect=by_fastlite, publish=['todo']) as (db, channel):
        subscription = channel.subscribe('todo')
        db.t.todo.insert(title='one')
        await told(subscription)
        db.t.todo.transform(rename={'title': 'name'}, types={'id': int})
        while (await told(subscription)) != [('todo', 'renew', None)]: pass
        assert db.t.todo.insert(name='two')['id'] == 2
        assert await told(subscription) == [('todo', 'insert', 2)]

async def test_a_table_that_became_something_else_stops_nobody(tmp_path):
    async with app(tmp_path/'app.db', TODO, NOTE, publish=['todo', 'note']) as (db, channel):
        subscription = channel.subscribe('note')
        for table in ('create view todo as select 1', 'create virtual table todo using fts5(word)'):
            db.execute(f'drop {"view" if "fts5" in table else "table"} todo')
            db.execute(table)
            db.execute('insert into note default values')
            await told(subscription)
        assert channel.stats().error is None

async def test_what_is_to_publish_outlives_the_app_and_its_triggers(tmp_path):
    async with app(tmp_path/'app.db', TODO, publish=['todo']): pass
    async with app(tmp_path/'app.db', 'insert into todo default values', 'drop table todo', TODO) as (db, channel):
        subscription = channel.subscribe('todo', since='start')
        assert await told(subscription, 2) == [('todo', 'insert', 1), ('todo', 'renew', None)]

@pytest.mark.parametrize('mode', ['wal', 'delete', 'truncate'])
@pytest.mark.parametrize('is_first', [True, False])
async def test_the_file_may_be_opened_before_the_log_or_after_and_in_any_mode(tmp_path, mode, is_first):
    path = tmp_path/'app.db'
    with opened(path) as before:
        for statement in (f'pragma journal_mode = {mode}', TODO, 'insert into todo default values'): before.execute(statement)
        async with app(path, publish=['todo']) as (db, channel):
            subscription = channel.subscribe('todo')
            with opened(path) as after: (before if is_first else after).execute('insert into todo default values')
            assert await told(subscription) == [('todo', 'insert', 2)]


# What is kept

async def test_a_file_to_which_only_others_write_does_not_grow_for_ever(tmp_path):
    tables = [f'table_{n}' for n in range(20)]
    made = [f'create table {name} (id integer primary key)' for name in tables]
    async with app(tmp_path/'app.db', *made, publish=tables, maxlen=10) as (db, channel):
        start = await channel.tail()
        async with shell(tmp_path/'app.db') as other:
            for name in tables: await other.run(*[f'insert into {name} default values'] * 40)
        check_counts(db)
        counts = dict(list(db.execute('select topic, count from sse_topics')))
        assert max(counts.values()) <= 11 and 90 <= sum(counts.values()) <= 101
        assert isinstance((await read(channel.subscribe(tables[-1], after=start)))[0], Gap)
        assert isinstance((await read(channel.subscribe(tables[0], after=start)))[0], Gap)

async def test_a_file_to_which_only_others_write_forgets_what_is_old(tmp_path):
    async with app(tmp_path/'app.db', TODO, publish=['todo'], max_age=60) as (db, _), shell(tmp_path/'app.db') as other:
        for _ in range(100): db.execute('insert into todo default values')
        db.execute('update sse_events set at = at - 61 where position <= 90')
        await other.run(*['insert into todo default values'] * 44)
        assert len(changes_in(db)) == 100 + 44 - 88
        await other.run(*['insert into todo default values'] * 44)
        assert len(changes_in(db)) == 100 + 88 - 90
        check_counts(db)

def changes(table): return st.sampled_from([f'insert into {table} default values', f'insert into {table} (title) values (1), (2), (3)',
    f'update {table} set title = 2', f'delete from {table} where id = (select min(id) from {table})', f'delete from {table}'])

STEPS = st.one_of(st.sampled_from(['a', 'b']).flatmap(changes), st.sampled_from([
    ('publish', 'a'), ('publish', 'c'), ('within', 'a'), ('within', 'd'), ('rollback', 'b'), ('end', 'b'), ('end', 'd'),
    ('publish_table', 'a'), ('unpublish_table', 'a'), ('publish_table', 'b'), ('unpublish_table', 'b')]),
    st.just('delete from sse_events where position = (select min(position) from sse_events)'))

def take(db, channel, step):
    if isinstance(step, str): return db.execute(step)
    what, name = step
    if what in ('publish_table', 'unpublish_table'): getattr(channel, what)(name)
    elif what == 'publish': channel.publish_sync('x', name)
    elif what == 'end': channel.publish_sync('x', name, end=True)
    else:
        db.execute('begin')
        try: channel.publish_within(db, 'x', name)
        finally: db.execute('commit' if what == 'within' else 'rollback')

@settings(max_examples=25)
@given(steps=st.lists(STEPS, min_size=10, max_size=40), maxlen=st.integers(1, 8))
async def test_what_the_log_counts_is_what_there_is(tmp_path_factory, steps, maxlen):
    tables = [f'create table {name} (id integer primary key, title)' for name in 'ab']
    async with app(tmp_path_factory.mktemp('counts')/'app.db', *tables, publish='ab', maxlen=maxlen) as (db, channel):
        for step in steps:
            try: take(db, channel, step)
            except LogError as e: assert 'has ended' in str(e)
            check_counts(db)
            assert max([count for count, in db.execute('select count from sse_topics')], default=0) <= maxlen + 3
        assert not db.in_transaction

async def test_an_ended_topic_refuses_no_write(tmp_path):
    async with app(tmp_path/'app.db', TODO, publish=['todo']) as (db, channel):
        await channel.publish(None, 'todo', end=True)
        db.execute('insert into todo default values')
        assert changes_in(db) == [] and list(db.execute('select id from todo')) == [(1,)]


# Soon

async def test_a_write_of_another_process_is_heard_soon(tmp_path):
    async with app(tmp_path/'app.db', TODO, publish=['todo']) as (db, channel), shell(tmp_path/'app.db') as other:
        subscription = channel.subscribe('todo')
        async def heard():
            await anext(subscription)
            return time.monotonic()
        async def delay():
            "From the beginning of the write."
            at, began = await asyncio.gather(heard(), other.run('insert into todo default values'))
            await asyncio.sleep(random.uniform(0, 0.03))  # not in step with the polling
            return at - began
        rounds = []
        while len(rounds) < 5 and (not rounds or rounds[-1] > 0.02): rounds.append(median([await delay() for _ in range(60)]))
        print(*(f'{seconds * 1000:.1f} ms' for seconds in rounds))
        assert min(rounds) <= 0.02  # others had the cores: the quietest round counts


# Within the app's transaction

@pytest.mark.parametrize('ends', ['commit', 'rollback'])
@each_library
async def test_an_event_stands_and_falls_with_the_transaction(tmp_path, connect, ends):
    async with app(tmp_path/'app.db', TODO, connect=connect) as (db, channel):
        subscription = channel.subscribe()
        await channel.publish('before', 'said')
        db.execute('begin')
        db.execute('insert into todo default values')
        for n in range(2): channel.publish_within(db, {'n': n}, 'said', event='news')
        db.execute(ends)
        await channel.publish('after', 'said')
        within = ['{"n": 0}', '{"n": 1}'] if ends == 'commit' else []
        assert await read(subscription, 2 + len(within)) == ['before', *within, 'after']
        check_counts(db)

@each_library
async def test_within_makes_the_tables_of_the_log_if_need_be(tmp_path, connect):
    async with app(tmp_path/'app.db', TODO, connect=connect) as (db, channel):
        for ends, expected in ('rollback', 0), ('commit', 1):
            db.execute('begin')
            channel.publish_within(db, 'first')
            db.execute(ends)
            assert list(db.execute("select count(*) from sqlite_master where name = 'sse_events'")) == [(expected,)]
        assert await read(channel.subscribe(since='start')) == ['first']

async def test_within_makes_them_in_the_file_of_the_channel_and_not_in_one_that_is_attached(tmp_path):
    attach = f"attach '{tmp_path/'other.db'}' as other"
    async with app(tmp_path/'other.db') as (other, theirs), app(tmp_path/'app.db', attach) as (db, channel):
        await theirs.publish('theirs')
        db.execute('begin')
        channel.publish_within(db, 'ours')
        db.execute('commit')
        assert texts_in(other, '') == ['theirs'] and await read(channel.subscribe(since='start')) == ['ours']

def immediate(path): return sqlite3.connect(path, isolation_level='IMMEDIATE')
def always(path): return sqlite3.connect(path, autocommit=False)
def never(path): return sqlite3.connect(path, autocommit=True)

since_3_12 = hasattr(sqlite3, 'LEGACY_TRANSACTION_CONTROL')

@pytest.mark.parametrize('connect', [sqlite3.connect, immediate, *[always] * since_3_12])
async def test_python_begins_a_transaction_where_it_would(tmp_path, connect):
    async with app(tmp_path/'app.db', TODO) as (_, channel):
        with opened(tmp_path/'app.db', connect) as db:
            with db: channel.publish_within(db, 'one', 'said')
            with pytest.raises(ZeroDivisionError), db:
                channel.publish_within(db, 'two', 'said')
                1/0
            assert texts_in(db, 'said') == ['one']
            db.rollback()

@pytest.mark.parametrize('connect', [by_sqlite3, by_apsw, by_fastlite, *[never] * since_3_12])
async def test_without_a_transaction_within_is_an_error(tmp_path, connect):
    async with app(tmp_path/'app.db', TODO, connect=connect) as (db, channel):
        with pytest.raises(ValueError, match='no transaction is open'): channel.publish_within(db, 'x')
        assert not getattr(db, 'conn', db).in_transaction

@pytest.mark.parametrize('begin', ['begin', 'begin immediate', 'savepoint mine'])
@each_library
async def test_within_waits_for_another_writer(tmp_path, connect, begin):
    async with app(tmp_path/'app.db', TODO, connect=connect, publish=['todo']) as (db, channel):
        with opened(tmp_path/'app.db', connect) as other:
            other.execute('begin immediate')
            other.execute('insert into todo default values')
            def within():
                db.execute(begin)
                channel.publish_within(db, 'x', 'said')
                db.execute('release mine' if 'savepoint' in begin else 'commit')
            within = asyncio.ensure_future(asyncio.to_thread(within))
            await asyncio.wait([within], timeout=0.05)
            other.execute('commit')
            await within
        assert texts_in(db, 'said') == ['x']

async def test_of_a_transaction_that_has_read_what_is_out_of_date_within_says_what_to_do(tmp_path):
    async with app(tmp_path/'app.db', TODO, publish=['todo']) as (db, channel):
        db.execute('begin')
        db.execute('select * from todo').fetchall()
        with opened(tmp_path/'app.db') as other: other.execute('insert into todo default values')
        with pytest.raises(LogError, match='locked: .*begin immediate'): channel.publish_within(db, 'x')
        db.execute('rollback')

@each_library
async def test_inside_a_transaction_of_the_app_only_within_works_and_the_error_says_so(tmp_path, monkeypatch, connect):
    monkeypatch.setattr(sqlite, 'WAIT', 0.1)
    async with app(tmp_path/'app.db', TODO, connect=connect, publish=['todo']) as (db, channel):
        db.execute('begin immediate')
        with pytest.raises(LogError, match='locked: .*only publish_within works'): await channel.publish('x', 'said')
        channel.publish_within(db, 'y', 'said')
        db.execute('commit')
        assert texts_in(db, 'said') == ['y']

@each_library
async def test_what_within_refuses_leaves_the_transaction_as_it_was(tmp_path, connect):
    async with app(tmp_path/'app.db', TODO, connect=connect) as (db, channel):
        await channel.publish('the end', 'job', end=True)
        db.execute('begin')
        db.execute('insert into todo default values')
        with pytest.raises(LogError, match="the topic 'job' has ended"): channel.publish_within(db, 'x', 'job')
        with pytest.raises(TypeError): channel.publish_within(db, object(), 'said')
        channel.publish_within(db, 'y', 'said', end=True)
        with pytest.raises(LogError, match="the topic 'said' has ended"): channel.publish_within(db, 'z', 'said')
        db.execute('insert into todo default values')
        db.execute('commit')
        assert list(db.execute('select count(*) from todo')) == [(2,)] and texts_in(db, 'job') == ['the end']
        check_counts(db)

def calls_on(channel, db):
    tables = [partial(method, 'todo') for method in (channel.publish_table, channel.unpublish_table)]
    return [partial(channel.publish_within, db, 'x'), *tables]

@pytest.mark.parametrize('log', [MemoryLog, lambda: RedisLog('redis://127.0.0.1:1')], ids=['MemoryLog', 'RedisLog'])
async def test_a_log_without_a_file_has_none_of_this(log):
    channel, db = Channel(log()), sqlite3.connect(':memory:')
    for call in calls_on(channel, db):
        with pytest.raises(TypeError, match='has none'): call()
    await channel.aclose()
    db.close()

async def test_a_closed_channel_says_so(tmp_path):
    async with app(tmp_path/'app.db', TODO) as (db, channel):
        await channel.aclose()
        for call in calls_on(channel, db):
            with pytest.raises(LogError, match='closed'): call()

def as_dict(cursor, row): return {column[0]: value for column, value in zip(cursor.description, row)}

def rows_as_objects(path):
    db = sqlite3.connect(path, isolation_level=None)
    db.row_factory, db.text_factory = sqlite3.Row, bytes
    return db

def rows_as_dicts(path):
    db = sqlite3.connect(path, isolation_level=None)
    db.row_factory = as_dict
    return db

def rows_traced(path):
    db = by_apsw(path)
    db.row_trace, db.exec_trace = as_dict, lambda cursor, statement, bindings: True
    return db

@pytest.mark.parametrize('connect', [rows_as_objects, rows_as_dicts, rows_traced])
async def test_what_the_app_makes_of_rows_stays_as_it_is_and_does_no_harm(tmp_path, connect):
    async with app(tmp_path/'app.db', TODO, connect=connect, publish=['todo']) as (db, channel):
        kept = [getattr(db, name, None) for name in ('row_factory', 'text_factory', 'row_trace', 'exec_trace')]
        db.execute('begin')
        db.execute("insert into todo (title) values ('x')")
        channel.publish_within(db, 'y', 'todo')
        db.execute('commit')
        row, = db.execute('select id from todo')
        assert row['id'] == 1 and kept == [getattr(db, name, None) for name in ('row_factory', 'text_factory', 'row_trace', 'exec_trace')]
        subscription = channel.subscribe('todo', since='start')
        assert await told(subscription) == [('todo', 'insert', 1)] and await read(subscription) == ['y']

@each_library
async def test_plain_handlers_publish_within_from_the_threads_of_a_pool(tmp_path, connect):
    "Each with a connection of its own: one that all share has one transaction."
    path = tmp_path/'app.db'
    async with app(path, TODO, connect=connect, publish=['todo']) as (db, channel):
        free = SimpleQueue()
        for _ in range(4): free.put(connect(path))
        def handler(n):
            own = free.get()
            own.execute('begin immediate')
            own.execute('insert into todo (id) values (?)', (n,))
            channel.publish_within(own, n, 'said')
            own.execute('rollback' if n % 4 == 0 else 'commit')
            free.put(own)
        await asyncio.gather(*(asyncio.to_thread(handler, n) for n in range(1, 41)))
        while not free.empty(): close(free.get())
        expected = {n for n in range(1, 41) if n % 4}
        assert {id for id, in db.execute('select id from todo')} == expected
        assert sorted(map(int, texts_in(db, 'said'))) == sorted(expected) == sorted(id for *_, id in changes_in(db))
        check_counts(db)

async def test_within_keeps_to_the_limits_of_the_log(tmp_path):
    async with app(tmp_path/'app.db', maxlen=10, max_age=60) as (db, channel):
        for n in range(40):
            db.execute('begin')
            channel.publish_within(db, n, 'said')
            db.execute('commit')
        assert texts_in(db, 'said') == [str(n) for n in range(30, 40)]
        db.execute('update sse_events set at = at - 61')
        db.execute('begin')
        channel.publish_within(db, 'new', 'said')
        db.execute('commit')
        assert texts_in(db, 'said') == ['new']


# Killed

@pytest.mark.parametrize('count', [60, pytest.param(1000, marks=pytest.mark.full)])
async def test_each_committed_row_has_an_event_and_no_other_has_though_processes_are_killed(tmp_path, count):
    path, seed = tmp_path/'app.db', random.randrange(10**9)
    command = [sys.executable, '-m', 'tests.support.killed', str(path), str(count), str(seed)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
    told = json.loads((await process.communicate())[0])
    print(seed, told)
    assert process.returncode == 0 and told['killed'] >= count // 2 and told['followers'] >= count // 20
    with opened(path) as db:
        rows, said = list(db.execute('select id, n from todo order by id')), list(db.execute('select n from said order by id'))
        assert changes_in(db, 'todo') == [('todo', 'insert', id) for id, _ in rows]
        assert texts_in(db, 'said') == [str(n) for n, in said] and [n for n, in said] == [n for _, n in rows]
        numbers = [n for n, in said]
        assert numbers[::2] == numbers[1::2] == sorted(set(numbers))  # both rows or none
        assert not [n for n in numbers if n % 5 == 0]  # they are rolled back
        assert set(told['committed']) <= set(numbers) and count // 10 <= len(numbers) // 2 < count
        check_counts(db)
        check_whole(db)


@pytest.mark.parametrize('name', ['close', 'gap', 'message', 'error', 'open'])
async def test_a_table_whose_event_would_mean_something_else_is_refused(tmp_path, name):
    async with app(tmp_path/'app.db', f'create table "{name}" (id integer primary key)') as (_, channel):
        with pytest.raises(ValueError, match=f"named '{name}' has a meaning of its own"): channel.publish_table(name)
