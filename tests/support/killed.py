"Transactions whose processes are killed: `python -m tests.support.killed FILE COUNT SEED` prints which were surely committed."
import asyncio, json, os, signal, sqlite3, sys, time
from random import Random

from fasthtml_sse import Channel


def connect(path): return sqlite3.connect(path, timeout=30, isolation_level=None)

def transact(path, n, step):
    "Two rows in a table that publishes, and two with an event each. Killed after the `step`-th statement; each fifth is rolled back."
    db = connect(path)
    channel = Channel(db)
    def say():
        db.execute('insert into said (n) values (?)', [n])
        yield
        channel.publish_within(db, n, 'said')
    def steps():
        yield db.execute('begin immediate')
        for _ in range(2): yield db.execute('insert into todo (n) values (?)', [n])
        for _ in range(2): yield from say(); yield
        yield db.execute('rollback' if n % 5 == 0 else 'commit')
    for at, _ in enumerate(steps()):
        if at == step: os.kill(os.getpid(), signal.SIGKILL)

async def follow(path):
    "Read, and write to the log."
    channel = Channel(path)
    await channel.publish('here', 'beat')
    async for entry in channel.subscribe():
        if entry.topic != 'beat': await channel.publish('x', 'beat')

def in_child(fn):
    if child := os.fork(): return child
    try: fn()
    finally: os._exit(0)

def end(child):
    "Whether it was killed, and not before."
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

def main(path, count, seed):
    random, committed, killed, followers = Random(seed), [], 0, 0
    db = connect(path)
    for table in ('todo', 'said'): db.execute(f'create table {table} (id integer primary key autoincrement, n integer)')
    channel = Channel(db)
    channel.publish_table('todo')
    asyncio.run(channel.aclose())
    db.close()  # a child must not inherit it
    follower = in_child(lambda: asyncio.run(follow(path)))
    for n in range(1, count + 1):
        step = random.randrange(14)
        child = in_child(lambda: transact(path, n, step))
        if random.random() < 0.5:  # from outside, at any moment
            time.sleep(random.uniform(0, 0.01))
            killed += end(child)
        else:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            killed += status == -signal.SIGKILL
            if status == 0 and n % 5: committed.append(n)
        if random.random() < 0.1:
            followers += end(follower)
            follower = in_child(lambda: asyncio.run(follow(path)))
    followers += end(follower)
    print(json.dumps(dict(committed=committed, killed=killed, followers=followers)))


if __name__ == '__main__': main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
