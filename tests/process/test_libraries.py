"One SQLite library for each file and process: what is allowed loses nothing, and what is not is refused."
import asyncio, json, sqlite3, subprocess, sys

import apsw, pytest

from fasthtml_sse import Channel, LogError
from tests.support import ROOT
from tests.support.tables import EACH, app, by_apsw, by_fastlite, by_sqlite3, close, opened
from tests.support.writers import ENOUGH

pytestmark = pytest.mark.anyio
each_library = pytest.mark.parametrize('connect', EACH)
TODO = 'create table todo (id integer primary key, title text)'
PAIRS = 'path', 'sqlite3', 'apsw', 'fastlite'
OTHER = {by_sqlite3: by_apsw, by_apsw: by_sqlite3, by_fastlite: by_sqlite3}


# What is allowed

async def written(pair, path, seconds):
    command = [sys.executable, '-m', 'tests.support.writers', pair, str(path), str(seconds)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
    said = (await process.communicate())[0]
    assert process.returncode == 0
    return json.loads(said)

def check_written(pair, found):
    wrote, stored = found['wrote'], found['stored']
    print(pair, found)
    assert found['errors'] == [] and found['whole'] == ['ok']
    kept = {name: wrote[name] - wrote[f'{name}, undone'] for name in ('one', 'two')}
    assert found['rows'] == stored['todo'] == sum(kept.values()) and stored.pop('') == 2
    assert stored == found['read'] == kept | {'log': wrote['log'], 'todo': found['rows']}
    assert all(wrote[name] > ENOUGH for name in ('one', 'two', 'log'))
    assert found['apsw'] == (pair in ('apsw', 'fastlite'))

async def test_threads_of_app_and_log_write_to_one_file(tmp_path):
    found = await asyncio.gather(*(written(pair, tmp_path/f'{pair}.db', 1.5) for pair in PAIRS))
    for pair, each in zip(PAIRS, found): check_written(pair, each)

@pytest.mark.full
@pytest.mark.timeout(200)
@pytest.mark.parametrize('pair', PAIRS)
async def test_threads_of_app_and_log_write_to_one_file_for_long(tmp_path, pair):
    check_written(pair, await written(pair, tmp_path/'app.db', 8))


# What is refused

def test_a_path_of_a_file_with_other_tables_is_refused_where_apsw_is_loaded(tmp_path):
    with opened(tmp_path/'app.db') as db: db.execute(TODO)
    for place in (tmp_path/'app.db', str(tmp_path/'app.db')):
        with pytest.raises(ValueError, match=r'\(todo\).*as in Channel\(db\)'): Channel(place)

async def test_tables_that_an_app_makes_later_are_noticed(tmp_path):
    channel = Channel(tmp_path/'app.db')
    await channel.publish('before')
    with opened(tmp_path/'app.db') as db: db.execute(TODO)
    with pytest.raises(LogError, match=r'as in Channel\(db\)'): await channel.publish('after')
    await channel.aclose()

LATE = '''
import sqlite3, sys
from fasthtml_sse import Channel, LogError
channel = Channel(sys.argv[1])
channel.publish_sync('before')
import fastlite
try: channel.publish_sync('after')
except LogError as e: print(e)
'''

async def test_a_library_that_is_loaded_later_is_noticed(tmp_path):
    with opened(tmp_path/'app.db') as db: db.execute(TODO)
    command = [sys.executable, '-c', LATE, str(tmp_path/'app.db')]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
    assert b'as in Channel(db)' in (await process.communicate())[0] and process.returncode == 0

@each_library
async def test_a_second_channel_by_the_other_library_is_refused(tmp_path, connect):
    async with app(tmp_path/'app.db', TODO, connect=connect) as (db, channel):
        await channel.publish('x')
        with opened(tmp_path/'app.db', OTHER[connect]) as other:  # of which the app makes no use
            with pytest.raises(ValueError, match='two SQLite libraries in one process destroy a file'): Channel(other)
        (tmp_path/'alias.db').symlink_to(tmp_path/'app.db')
        with opened(tmp_path/'alias.db', OTHER[connect]) as other, pytest.raises(ValueError, match='two SQLite libraries'): Channel(other)
        second = Channel(db)
        assert await second.publish('y') == await channel.tail()
        await second.aclose()

@pytest.mark.parametrize('by_path_first', [True, False])
async def test_a_path_and_a_database_are_refused_together(tmp_path, by_path_first):
    path = tmp_path/'events.db'
    with opened(path, by_apsw) as db:
        first, second = (path, db) if by_path_first else (db, path)
        channel = Channel(first)
        await channel.publish('x')
        with pytest.raises(ValueError, match='is open in this process by'): Channel(second)
        await channel.aclose()
        after = Channel(second)  # now nobody has it open
        await after.publish('y')
        await after.aclose()

@pytest.mark.parametrize('by_path_first', [True, False])
async def test_where_neither_was_open_the_second_to_open_is_told(tmp_path, by_path_first):
    with opened(tmp_path/'events.db', by_apsw) as db:
        first, second = map(Channel, (tmp_path/'events.db', db) if by_path_first else (db, tmp_path/'events.db'))
        await first.publish('x')
        with pytest.raises(LogError, match='two SQLite libraries'): await second.publish('y')
        for channel in (first, second): await channel.aclose()

@each_library
async def test_within_refuses_a_connection_of_the_other_library(tmp_path, connect):
    async with app(tmp_path/'app.db', TODO, connect=connect) as (db, channel):
        with opened(tmp_path/'elsewhere.db', OTHER[connect]) as other:
            other.execute('begin')
            with pytest.raises(TypeError, match='two SQLite libraries'): channel.publish_within(other, 'x')
            other.execute('rollback')

@each_library
async def test_within_refuses_another_file(tmp_path, connect):
    async with app(tmp_path/'app.db', TODO, connect=connect) as (db, channel):
        for place in (tmp_path/'other.db', ':memory:'):
            with opened(place, connect) as other:
                other.execute(f"attach '{tmp_path/'app.db'}' as app")
                other.execute('begin')
                with pytest.raises(ValueError, match='this connection is to'): channel.publish_within(other, 'x')
                other.execute('rollback')
        (tmp_path/'alias.db').symlink_to(tmp_path/'app.db')
        with opened(tmp_path/'alias.db', connect) as alias:
            alias.execute('begin')
            channel.publish_within(alias, 'x', 'said')
            alias.execute('commit')
        assert list(db.execute('select topic from sse_events')) == [('said',)]

@pytest.mark.parametrize('what', [None, 'app.db', 7, sqlite3])
async def test_within_refuses_what_is_no_connection(tmp_path, what):
    async with app(tmp_path/'app.db', TODO) as (_, channel):
        with pytest.raises(TypeError, match='needs a connection'): channel.publish_within(what, 'x')

@each_library
async def test_the_log_leaves_the_connection_of_the_app_open_and_does_not_need_it(tmp_path, connect):
    db = connect(tmp_path/'app.db')
    channel = Channel(db)
    channel.publish_sync('x')
    await channel.aclose()
    db.execute(TODO)
    closed = Channel(db)
    close(db)  # the log has connections of its own
    assert await closed.publish('y')
    await closed.aclose()

@pytest.mark.parametrize('connect', [by_apsw, by_fastlite])
async def test_a_log_is_opened_though_somebody_writes_for_longer_than_fastlite_would_wait(tmp_path, connect):
    "It has each new connection of apsw look for missing statistics, and make them."
    path = tmp_path/'app.db'
    with opened(path, connect) as db, opened(path, connect) as writer:
        db.execute('create table todo (id integer primary key, title text)')
        db.execute('create index todo_by_title on todo (title)')
        db.execute("insert into todo (title) values ('x'), ('y')")
        writer.execute('begin immediate')
        with pytest.raises(apsw.BusyError): connect(path)
        channel = Channel(db)
        publishing = asyncio.ensure_future(channel.publish('x'))
        await asyncio.wait([publishing], timeout=0.3)
        assert not publishing.done()
        writer.execute('commit')
        await publishing
        await channel.aclose()

@each_library
def test_a_database_in_memory_is_refused(connect):
    db = connect(':memory:')
    with pytest.raises(ValueError, match='in memory'): Channel(db)
    close(db)
