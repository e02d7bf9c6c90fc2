"A chat in Chromium over two servers that share a log."
from contextlib import contextmanager

import pytest

from tests.support.redis import redis
from tests.support.serving import Server, uvicorn

from .pages import HURRY, answer_from_npm, until


pytestmark = pytest.mark.connections


@pytest.fixture(scope='module', params=['sqlite', 'redis'])
def log(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp('log')
    if request.param == 'sqlite': yield f"sqlite {folder/'chat.db'}"
    else:
        with redis(folder) as server: yield f'redis {server.url}'

@pytest.fixture(scope='module')
def servers(log, build, tmp_path_factory):
    both = [Server(tmp_path_factory.mktemp('chat'), *uvicorn(app='chat'), LOG=log, BUILD=build) for _ in range(2)]
    try:
        for server in both: server.start()
        yield both
    finally:
        for server in both: server.kill()

@pytest.fixture
def context(chromium, build):
    with chromium.new_context() as context:
        answer_from_npm(context, build)
        context.set_default_timeout(10_000)
        context.add_init_script(HURRY)
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
        here.end()
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
