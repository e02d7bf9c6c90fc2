"Lines from a terminal: `python -m examples.script Hello` publishes, and a page of the gallery shows it."
import sys
from datetime import datetime
from getpass import getuser
from pathlib import Path
from tempfile import gettempdir

from fasthtml.common import *
from fasthtml_sse import *

from .layout import example

rt = APIRouter('/script')

FILE = Path(gettempdir())/f'fasthtml-sse-{getuser()}.db'
news = Channel(SQLiteLog(FILE))

@rt('/')
async def index():
    look = ('The log of this channel is a file, so every process of the machine can publish: a script, a '
            'cron job, another worker. Run the command in the folder of the project. Serve the gallery '
            'by “PORT=8000 make demo”, and you can stop it, publish, and start it again: no line is lost.')
    return example('Script', look,
        Pre(Code('.venv/bin/python -m examples.script "Hello from a terminal"'), tabindex=0, cls='command'),
        Div(Ol(id='lines'), role='log', tabindex=0, aria_label='Lines', cls='log'),
        SSESource(events, after=await news.tail()), code=__file__)

@rt
def events(): return news.response()

def publish(text):
    "What the script does."
    news.publish_sync(swap.append(Li(Time(f'{datetime.now():%H:%M:%S}'), Span(text), cls='new'), '#lines'))

if __name__ == '__main__': publish(' '.join(sys.argv[1:]) or 'Hello')
