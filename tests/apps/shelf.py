"Books in a file, and a live view of them over the log that the environment names, for several workers."
import os, sqlite3
from contextlib import closing

from fasthtml.common import Li, Ul, fast_app

from fasthtml_sse import Channel

kind, _, place = os.environ['LOG'].partition(' ')
channel = Channel(place)
BOOKS = os.environ['BOOKS']
app, rt = fast_app(secret_key='of no use')
renders = []

def books():
    with closing(sqlite3.connect(BOOKS, timeout=5)) as db: return db.execute('select title from book order by rowid').fetchall()

def shelf():
    renders.append(1)
    return Ul(*(Li(title) for title, in books()), id='shelf')
view = channel.live(shelf, 'books', every=0.01)

@rt
def events(): return view.response(heartbeat_interval=None)

@rt
async def shelve(title: str):
    with closing(sqlite3.connect(BOOKS, timeout=5)) as db, db: db.execute('insert into book values (?)', [title])
    await channel.publish('changed', 'books')
    return {'worker': os.getpid()}

@rt
def stats(): return {'readers': channel.stats().readers, 'worker': os.getpid(), 'renders': len(renders)}
