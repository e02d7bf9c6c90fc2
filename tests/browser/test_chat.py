"A chat in Chromium over two servers that share a log."
import os, subprocess, sys, time
from contextlib import contextmanager
from urllib.request import urlopen

import pytest

from tests.support.redis import redis
from tests.support import ROOT
from tests.support.serving import free_port

from .pages import answer_from_npm

pytestmark = pytest.mark.parametrize('build', ['2.0.11', '4.0.1'])


class Server:
    "The chat in a process of its own."
    def __init__(self, **env): self.port, self.env = free_port(), os.environ | {'PYTHONPATH': str(ROOT)} | env
    @property
    def url(self): return f'http://127.0.0.1:{self.port}'

    def start(self):
        self.process = subprocess.Popen([sys.executable, '-m', 'uvicorn', 'tests.apps.chat:app', '--port', str(self.port), '--log-level', 'error'], cwd=ROOT, env=self.env)
        until(self.answers)

    def answers(self):
        try: return urlopen(f'{self.url}/ok').status == 200
        except OSError: return False

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def until(condition):
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends, 'waited for 10 s'
        time.sleep(0.01)


@pytest.fixture(params=['sqlite', 'redis'])
def log(request, tmp_path):
    if request.param == 'sqlite': yield f"sqlite {tmp_path/'chat.db'}"
    else:
        with redis(tmp_path) as server: yield f'redis {server.url}'

@pytest.fixture
def servers(log, build):
    both = [Server(LOG=log, BUILD=build) for _ in range(2)]
    for server in both: server.start()
    yield both
    for server in both: server.stop()

@pytest.fixture
def context(chromium, build):
    with chromium.new_context() as context:
        answer_from_npm(context, build)
        context.set_default_timeout(10_000)
        yield context

@contextmanager
def live(context, server):
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_selector('#source[state=live]', state='attached')
    yield page

def say(page, text):
    page.fill('input', text)
    page.keyboard.press('Enter')

def shown(page): return page.evaluate('[...document.querySelectorAll("#msgs li")].map(e => e.textContent)')


def test_two_pages_chat_through_two_servers_and_nothing_is_lost_in_a_restart(context, servers):
    here, there = servers
    with live(context, here) as ann, live(context, there) as bob:
        for page, text in ((ann, 'hello'), (bob, 'hi')):
            say(page, text)
            until(lambda: shown(ann)[-1:] == shown(bob)[-1:] == [text])
        here.stop()
        ann.wait_for_selector('#source[state=reconnecting]', state='attached')
        for n in range(5):
            say(bob, f'while away {n}')
            until(lambda: shown(bob)[-1] == f'while away {n}')
        assert shown(ann) == ['hello', 'hi']
        here.start()
        until(lambda: shown(ann) == shown(bob))
        say(ann, 'back')
        until(lambda: shown(ann) == shown(bob) == ['hello', 'hi', *(f'while away {n}' for n in range(5)), 'back'])

def test_a_page_that_connects_after_a_publish_has_it(context, servers):
    here, there = servers
    page, other = context.new_page(), context.new_page()
    other.goto(there.url)
    def publish_first(route):
        say(other, 'in between')
        until(lambda: shown(other) == ['in between'])
        route.continue_()
    page.route('**/events*', publish_first)
    page.goto(here.url)
    until(lambda: shown(page) == ['in between'])
