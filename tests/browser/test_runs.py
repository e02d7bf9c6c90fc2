"A chat with a model and a job, each as short as they get, with the real SDK and in every htmx."
import runpy
from functools import partial
from threading import Semaphore
from types import SimpleNamespace

import pytest
from fasthtml.common import fast_app

from tests.support import ROOT
from tests.support.models import Model

from .live import BUILDS

pytestmark = [pytest.mark.full, pytest.mark.parametrize('build', BUILDS)]


@pytest.fixture
def load(monkeypatch, tmp_path):
    "`load(name, build)` is what an app of tests/apps has when it has just started."
    monkeypatch.chdir(tmp_path)
    def load(name, build):
        async def close():
            if 'openai' in made: await made['openai'].close()
        settings = dict(htmx4=build.startswith('4.'), on_shutdown=close, secret_key='of no use')
        monkeypatch.setattr('fasthtml.common.fast_app', partial(fast_app, **settings))
        made = runpy.run_path(str(ROOT/'tests'/'apps'/f'{name}.py'))
        return made
    return load


def until_text(page, selector, text):
    page.wait_for_function('([selector, text]) => document.querySelector(selector)?.textContent == text', arg=[selector, text])


def another_tab(page):
    tab = page.context.new_page()
    tab.goto(page.url)
    return tab


def ask(page, prompt):
    page.fill('textarea', prompt)
    page.press('textarea', 'Enter')


def test_a_chat_streams_survives_a_reload_is_asked_once_and_stops_the_model(browse, load, build, monkeypatch):
    with Model('Mix ', '**flour**', ' <b>', waits=True) as model:
        monkeypatch.setenv('OPENAI_API_KEY', 'none')
        monkeypatch.setenv('OPENAI_BASE_URL', f'{model.url}/v1')
        with browse(load('talk', build)['app'], build) as context:
            page = context.new_page()
            page.goto(context.site.url)
            ask(page, 'Bread?')
            until_text(page, 'article pre', 'Mix **flour** <b>')
            page.reload()
            tab = another_tab(page)
            for each in (page, tab): until_text(each, 'article pre', 'Mix **flour** <b>')
            assert page.locator('article').count() == 1 and page.input_value('textarea') == ''
            page.click('button >> text=Stop')
            for each in (page, tab): until_text(each, 'article small', 'Stopped.')
            first, = model.calls
            assert first.over.wait(5) and first.left
            model.waits = False
            ask(page, 'Bread, please')
            until_text(page, 'article:nth-of-type(2) strong', 'flour')
            assert page.text_content('article:nth-of-type(2) p') == 'Mix flour <b>' and page.locator('article pre').count() == 0
            assert [(m['role'], m['content']) for m in model.calls[1].body['messages']] == [
                ('user', 'Bread?'), ('assistant', 'Mix **flour** <b>'), ('user', 'Bread, please')]


def test_a_job_is_the_same_in_all_tabs_and_is_cancelled_or_fails_in_all(browse, load, build):
    bakery, oven = load('bakery', build), Semaphore(0)
    bakery['bake'].__globals__['time'] = SimpleNamespace(sleep=lambda seconds: oven.acquire(timeout=20))
    with browse(bakery['app'], build) as context:
        page = context.new_page()
        def start(total):
            page.goto(context.site.url)
            page.fill('[name=total]', total)
            page.click('form button')
        start('40')
        tabs = [page, another_tab(page)]
        for n in (1, 2):
            oven.release()
            for tab in tabs: until_text(tab, '#job p', f'{n} of 40 loaves')
        tabs.append(another_tab(page))
        until_text(tabs[2], '#job p', '2 of 40 loaves')
        tabs[1].click('button')
        for tab in tabs: until_text(tab, '#job p', 'Cancelled.')
        oven.release(100)
        start('60')
        until_text(page, '#job p', 'The oven is broken.')
        page.wait_for_selector('sse-source[outcome=failed]', state='attached')
