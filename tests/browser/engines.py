"""Firefox and WebKit, Safari's engine, as Debian has them. Both take the commands of WebDriver: Firefox by itself, over its Marionette
protocol, and WebKit from the driver that comes with it, over HTTP. A page of them is used like one of Playwright's."""
from __future__ import annotations

import json, os, shutil, socket, subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from fastcore.net import free_port
from fasthtml.common import FastHTML, Link, Meta, Script, fast_app

from fasthtml_sse import sse_headers

from .live import NPM, scripts, serve
from .pages import HURRY, RECORD, until

PATIENCE = 60  # seconds for one command, on a busy machine
KEYS = dict(End='\ue010', ArrowLeft='\ue012', Enter='\ue007', Escape='\ue00c')
ELEMENT = 'element-6066-11e4-a52e-4f735466cecf'  # by which WebDriver names one

# What goes wrong on a page, from the first on
FAULTS = Script('''
window.faults = []
addEventListener('error', e => faults.push(e.message))
addEventListener('unhandledrejection', e => faults.push(`${e.reason}`))''')

# Runs an expression, or calls a function with `arg`, in the page, as Playwright does
EVALUATE = '''const [text, done] = arguments
window.eval(text).then(done, error => done(`${error}`))'''


def is_missing(what: str) -> Any:
    "Skip the test, but in CI every engine has to be there."
    (pytest.fail if os.environ.get('CI') else pytest.skip)(f'{what} was not found: run .ci/install')


def program(*names: str) -> str:
    "The first of these that is there."
    return next(filter(None, map(shutil.which, names)), None) or is_missing(' or '.join(names))


@contextmanager
def running(*command: str | Path, **settings: Any) -> Iterator[subprocess.Popen]:
    "Run a program, in silence, until the block is over."
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **{'stdout': subprocess.DEVNULL, **settings})
    try: yield process
    finally:
        process.terminate()
        try: process.wait(10)
        except subprocess.TimeoutExpired: process.kill()
        process.wait()
        if process.stdout: process.stdout.close()


def answers(port: int) -> bool:
    try: socket.create_connection(('127.0.0.1', port)).close()
    except OSError: return False
    return True


class Firefox:
    opens = 'tab'
    # It takes commands at a port of its own choice, which it writes into its profile, and is served by nobody but this machine.
    # It draws as seldom as on a busy one, so keys come before it has laid out what is new
    PREFS = {'marionette.port': 0, 'network.proxy.type': 0, 'network.captive-portal-service.enabled': False,
             'network.connectivity-service.enabled': False, 'datareporting.policy.dataSubmissionEnabled': False, 'layout.frame_rate': 4}

    @contextmanager
    def run(self) -> Iterator[Firefox]:
        with TemporaryDirectory(prefix='firefox') as folder, ExitStack() as stack:
            profile, self._number = Path(folder), count()
            (profile/'user.js').write_text(''.join(f'user_pref("{name}", {json.dumps(value)});\n' for name, value in self.PREFS.items()))
            command = program('firefox-esr', 'firefox'), '--marionette', '--headless', '--no-remote', '--profile', profile
            stack.enter_context(running(*command, env={**os.environ, 'HOME': folder}))
            port = profile/'MarionetteActivePort'
            until(lambda: port.exists() and port.read_text(), PATIENCE)
            sock = stack.enter_context(socket.create_connection(('127.0.0.1', int(port.read_text())), PATIENCE))
            self._sock, self._file = sock, stack.enter_context(sock.makefile('rb'))
            self._read()  # it says who it is
            self('NewSession', capabilities={'alwaysMatch': {'unhandledPromptBehavior': 'ignore'}})
            yield self

    def _read(self) -> Any:
        size = b''
        while (byte := self._file.read(1)) != b':':
            assert byte, 'Firefox has ended'
            size += byte
        return json.loads(self._file.read(int(size)))

    def __call__(self, command: str, **parameters: Any) -> Any:
        text = json.dumps([0, next(self._number), f'WebDriver:{command}', parameters]).encode()
        self._sock.sendall(b'%d:%s' % (len(text), text))
        _, _, error, result = self._read()
        assert not error, f"{command}: {error['error']}: {error['message']}"
        return result['value'] if isinstance(result, dict) and [*result] == ['value'] else result


class WebKit:
    opens = 'window'  # its MiniBrowser never shows a second tab, which would be hidden
    PATHS = dict(
        NewSession='', NewWindow='window/new', GetWindowHandle='window', SwitchToWindow='window', CloseWindow='window',
        Navigate='url', Back='back', ExecuteAsyncScript='execute/async', FindElement='element', ElementClick='element/{id}/click',
        PerformActions='actions')

    @contextmanager
    def run(self) -> Iterator[WebKit]:
        driver, self._port, self._path = program('WebKitWebDriver'), free_port(), '/session'
        found = sorted(Path('/usr').glob('lib*/**/webkit2gtk-4*/MiniBrowser'))
        if not found: is_missing("WebKit's MiniBrowser")
        with TemporaryDirectory(prefix='webkit') as folder, ExitStack() as stack:
            screen = program('Xvfb'), '-displayfd', '1', '-screen', '0', '1280x1024x24', '-nolisten', 'tcp'
            display = stack.enter_context(running(*screen, stdout=subprocess.PIPE)).stdout.readline().decode().strip()
            assert display, 'Xvfb has not started'
            # Its sandbox is not to be had in containers. What it loads is from here
            env = {**os.environ, 'DISPLAY': f':{display}', 'GDK_BACKEND': 'x11', 'LIBGL_ALWAYS_SOFTWARE': '1', 'no_proxy': '127.0.0.1',
                   'HOME': folder, 'XDG_RUNTIME_DIR': folder, 'WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS': '1'}
            stack.enter_context(running(driver, f'--port={self._port}', env=env))
            until(lambda: answers(self._port), PATIENCE)
            options = {'binary': str(found[-1]), 'args': ['--automation']}
            capabilities = {'alwaysMatch': {'webkitgtk:browserOptions': options, 'unhandledPromptBehavior': 'ignore'}}
            self._path = f"/session/{self('NewSession', capabilities=capabilities)['sessionId']}"
            try: yield self
            finally: self._ask('DELETE', '')

    def _ask(self, method: str, path: str, parameters: Any = None) -> Any:
        connection = HTTPConnection('127.0.0.1', self._port, PATIENCE)
        connection.request(method, f'{self._path}/{path}'.rstrip('/'), None if parameters is None else json.dumps(parameters))
        value = json.loads(connection.getresponse().read())['value']
        connection.close()
        assert not (isinstance(value, dict) and 'error' in value), f"{path}: {value['error']}: {value['message']}"
        return value

    def __call__(self, command: str, **parameters: Any) -> Any:
        method = dict(GetWindowHandle='GET', CloseWindow='DELETE').get(command, 'POST')
        path = self.PATHS[command].format(id=parameters.pop('id', None))
        return self._ask(method, path, parameters if method == 'POST' else None)


class Page:
    "A tab of `engine`, or a window, where `site` is run."
    def __init__(self, engine: Any, site: Any):
        self.engine, self.context, self.keyboard = engine, SimpleNamespace(site=site), self
        self._opener, self._handle = engine('GetWindowHandle'), engine('NewWindow', type=engine.opens)['handle']

    def _do(self, command: str, **parameters: Any) -> Any:
        if self.engine('GetWindowHandle') != self._handle: self.engine('SwitchToWindow', handle=self._handle)
        return self.engine(command, **parameters)

    def goto(self, url: str) -> None: self._do('Navigate', url=url)

    def go_back(self) -> None: self._do('Back')

    def evaluate(self, script: str, arg: Any = None) -> Any:
        text = f'(async (it, arg) => JSON.stringify([await (typeof it == "function" ? it(arg) : it)]))(({script}), {json.dumps(arg)})'
        answer = self._do('ExecuteAsyncScript', script=EVALUATE, args=[text])
        assert answer and answer.startswith('['), f'{answer}, in {script}'  # nothing, where the page is left meanwhile
        return [*json.loads(answer), None][0]

    def wait_for_function(self, script: str, arg: Any = None) -> None: until(lambda: self.evaluate(script, arg))

    def click(self, selector: str) -> None:
        element = self._do('FindElement', using='css selector', value=selector)
        self._do('ElementClick', id=element[ELEMENT])

    def type(self, text: str) -> None:
        keys = [dict(type=kind, value=key) for key in text for kind in ('keyDown', 'keyUp')]
        self._do('PerformActions', actions=[dict(type='key', id='keyboard', actions=keys)])

    def press(self, key: str) -> None: self.type(KEYS[key])

    def close(self) -> None:
        self._do('CloseWindow')
        self.engine('SwitchToWindow', handle=self._opener)  # one has to be there


ENGINES = dict(firefox=Firefox, webkit=WebKit)


def app_for(build: str) -> tuple:
    "An app and its `rt`, whose pages load this htmx from npm, note what befalls them, and try again soon."
    config = Meta(name='htmx-config', content='{"metaCharacter": "-"}')
    hdrs = FAULTS, RECORD, Script(HURRY), Link(rel='icon', href='data:,'), config, Script(src=f'/{scripts(build)[0]}'), *sse_headers()
    return fast_app(default_hdrs=False, hdrs=hdrs, static_path=str(NPM), secret_key='of no use')


@contextmanager
def browsing(engine: Any, app: FastHTML) -> Iterator[Any]:
    "`open(path)` opens pages of `app`, which is served meanwhile. None may throw."
    pages: list[Page] = []
    with serve(app) as site, ExitStack() as stack:
        def open(path: str = '/', user: str = '') -> Page:
            pages.append(page := Page(engine, site))
            stack.callback(page.close)
            page.goto(site.url.replace('//', f'//{user}') + path)
            return page
        yield open
        for page in pages: assert page.evaluate('window.faults ?? []') == []
