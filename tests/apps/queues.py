"Jobs of Huey, whose workers report to open pages by a channel. Its consumer forks a process for each worker."
import os
from pathlib import Path
from time import sleep

from fasthtml.common import fast_app
from huey import SqliteHuey
from huey.signals import SIGNAL_COMPLETE, SIGNAL_ERROR, SIGNAL_EXECUTING, SIGNAL_INTERRUPTED

from fasthtml_sse import Channel

folder = Path(os.environ['FOLDER'])
huey, channel = SqliteHuey(filename=folder/'jobs.db'), Channel(folder/'events.db')

@huey.task()
def job(id, how):
    channel.publish_sync('half of it', f'job/{id}')
    if how == 'fails': raise ValueError('secret')
    if how == 'hangs': sleep(60)
    channel.publish_sync('all of it', f'job/{id}', end=True)

# How a job ends that does not come to its own end. Of one that was killed only a note is left, by the process that it had

def note_of(pid): return folder/'running'/str(pid)

@huey.signal(SIGNAL_EXECUTING)
def begins(signal, task): note_of(os.getpid()).write_text(task.args[0])

@huey.signal(SIGNAL_COMPLETE, SIGNAL_ERROR, SIGNAL_INTERRUPTED)
def is_over(signal, task, error=None):
    note_of(os.getpid()).unlink()
    if signal != SIGNAL_COMPLETE: channel.publish_sync(f'sorry: {signal}', f'job/{task.args[0]}', end=True)

@huey.on_startup()
def look_back():
    "A worker comes, maybe in place of one that was killed."
    for note in (folder/'running').iterdir():
        try: os.kill(int(note.name), 0)
        except ProcessLookupError:
            channel.publish_sync('sorry: killed', f'job/{note.read_text()}', end=True)
            note.unlink()

app, rt = fast_app(secret_key='of no use')

@rt
def ok(): return 'ok'

@rt
def start(id: str, how: str): job(id, how)

@rt
def events(id: str): return channel.response(f'job/{id}', since='latest')
