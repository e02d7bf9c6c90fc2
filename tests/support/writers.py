"""Threads of an app and of a log that write to one file, by one SQLite library:
`python -m tests.support.writers LIBRARY FILE SECONDS` prints what each has written and what was read."""
import asyncio, json, sqlite3, sys, time
from collections import Counter
from threading import Thread

from fasthtml_sse import Channel, EventParser, Gap, SQLiteLog

MANY = 10**7  # more than is ever written here: nothing is removed
ENOUGH = 10  # writes of each


# How an app opens its file

def by_sqlite3(path): return sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)

def by_apsw(path):
    import apsw
    db = apsw.Connection(path)
    db.set_busy_timeout(60_000)
    return db

def by_fastlite(path):
    from fastlite import database
    db = database(path)
    db.conn.set_busy_timeout(60_000)
    return db

APPS = {'path': by_sqlite3, 'sqlite3': by_sqlite3, 'apsw': by_apsw, 'fastlite': by_fastlite}


class Writers:
    def __init__(self, library, path, seconds):
        self.db, *self.apps = (APPS[library](path) for _ in range(3))
        self.db.execute('create table todo (id integer primary key, title text)')
        self.channel = Channel(SQLiteLog(path if library == 'path' else self.db, maxlen=MANY))
        self.channel.publish_table('todo')
        self.start = self.channel.publish_sync('the first')
        self.ends = time.monotonic() + seconds
        self.wrote, self.read, self.errors = Counter(), Counter(), []

    def is_over(self):
        "Whether the time is, and each has had its turns; on a machine that is busy that may take longer."
        late = time.monotonic() - self.ends
        return late > 0 and all(self.wrote[name] > ENOUGH for name in ('one', 'two', 'log')) or late > 30

    def work(self, name, step):
        "Until the time is over."
        while not self.is_over() and not self.errors:
            try: step()
            except Exception as e: self.errors.append(f'{name}: {type(e).__name__}: {e}')
            else: self.wrote[name] += 1
            time.sleep(0.0005)  # SQLite is not fair: who never pauses lets nobody else write

    def app(self, name):
        "Rows, and an event of their own for each."
        db = self.apps.pop()
        def step():
            db.execute('begin immediate')
            db.execute('insert into todo (title) values (?)', (name,))
            self.channel.publish_within(db, name, name)
            db.execute('rollback' if (is_undone := self.wrote[name] % 7 == 6) else 'commit')
            self.wrote[f'{name}, undone'] += is_undone
        self.work(name, step)
        getattr(db, 'conn', db).close()

    def log(self): self.work('log', lambda: self.channel.publish_sync('x', 'log'))

    async def follow(self):
        async for entry in self.channel.subscribe(after=self.start):
            if isinstance(entry, Gap): self.errors.append('a gap')
            elif EventParser().feed(entry.frame)[0].data == 'the last': return
            else: self.read[entry.topic] += 1

    def run(self):
        reader = Thread(target=lambda: asyncio.run(self.follow()))
        writers = [Thread(target=self.app, args=['one']), Thread(target=self.app, args=['two']), Thread(target=self.log)]
        for thread in (reader, *writers): thread.start()
        for thread in writers: thread.join()
        self.channel.publish_sync('the last')
        reader.join()
        stored = Counter(topic for topic, in self.db.execute('select topic from sse_events'))
        rows, = list(self.db.execute('select count(*) from todo'))[0]
        asyncio.run(self.channel.aclose())
        whole = [line for line, in self.db.execute('pragma integrity_check')]
        return dict(wrote=self.wrote, read=self.read, stored=stored, rows=rows, errors=self.errors, whole=whole, apsw='apsw' in sys.modules)


if __name__ == '__main__': print(json.dumps(Writers(sys.argv[1], sys.argv[2], float(sys.argv[3])).run()))
