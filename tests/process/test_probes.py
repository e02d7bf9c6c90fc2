"Servers, frameworks and an event loop of another version: whatever we look at has another name. All streams run, and a signal ends them."
import re, subprocess, sys

import pytest

from tests.support import ROOT
from tests.support.servers import FIFTY, LAST_WORDS
from tests.support.serving import serving, streams

pytestmark = pytest.mark.anyio

UVICORN = 'uvicorn', 'tests.apps.streams:app', '--port', 'PORT', '--loop', 'asyncio'
HYPERCORN = 'hypercorn', 'tests.apps.streams:app', '-b', '127.0.0.1:PORT', '-w', '0'  # a worker of its own gets no signals

def renamed(package, *names): return [(package, name) for name in names]

NAMES = {
    UVICORN: [
        *renamed('uvicorn', '_serve', 'self', 'started', 'servers', 'config', 'callback_notify', 'should_reload', 'workers'),
        *renamed('uvicorn', 'server_state', 'connections', 'cycle', 'scope', 'transport'),
        *renamed('starlette', 'sender', '_send', 'send_wrapper'),
        *renamed('asyncio.base_events:Server', 'is_serving'),
        *renamed('asyncio.tasks:', '_enter_task', '_leave_task'),
    ],
    HYPERCORN: renamed('hypercorn', 'worker_serve', 'server_tasks', 'servers', 'workers', 'writer'),
}
OFTEN = {'_serve', 'started', '_enter_task'}  # the others are for `make test-all`
LOOKS = [
    pytest.param(server, *names, id=' '.join(names), marks=[] if names[1] in OFTEN else pytest.mark.full)
    for server, looks in NAMES.items() for names in looks
]

@pytest.mark.parametrize('server, package, name', LOOKS)
@pytest.mark.parametrize('middleware', ['', pytest.param('passing', marks=pytest.mark.full)])
async def test_streams_run_and_end_under_what_we_do_not_know(tmp_path, server, package, name, middleware):
    command = '-m', 'tests.apps.renamed', package, name, *server
    async with serving(tmp_path, *command, MIDDLEWARE=middleware) as process, streams(process.port, *FIFTY, '/published') as connections:
        seconds = await process.stop()
        ends = [LAST_WORDS.search(await reader.read(-1)) for reader, _ in connections]
        assert seconds < 1
        assert all(ends) and len(process.noted('finally')) == 50 and len(process.noted('on_shutdown')) == 1
        assert 'Traceback' not in process.output
        said = re.findall('is not as fasthtml-sse knows it.* So (.*?),', process.output)
        assert len(said) == len(set(said))

def check(*command):
    "What `python -m fasthtml_sse` tells, and its exit code."
    done = subprocess.run([sys.executable, *command, 'fasthtml_sse'], cwd=ROOT, capture_output=True, text=True, timeout=60)
    return done.stdout, done.returncode

def test_a_machine_can_be_checked():
    told, code = check('-m')
    assert code == 0 and told.startswith('Python 3.') and ', uvicorn ' in told
    assert {line.split()[0] for line in told.splitlines()[2:]} == {'yes'}

@pytest.mark.parametrize('server, package, name', LOOKS)
def test_the_check_tells_what_we_do_not_know(server, package, name):
    told, code = check('-m', 'tests.apps.renamed', package, name)
    assert code == 1 and re.search(rf'^no +({package.partition(".")[0]}|asyncio|uvicorn|hypercorn) ', told, re.M | re.I)
