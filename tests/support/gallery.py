"The gallery as it is when it starts, and its pages."
import asyncio, re
from collections import deque
from html import unescape
from threading import Semaphore
from types import SimpleNamespace

from fasthtml.common import Client

from examples import answer, cells, chat, job, plan, todo
from examples.gallery import app
from fasthtml_sse import Channel, MemoryLog


def page(path, **headers):
    answer = Client(app).get(path, headers=headers)
    assert answer.status_code == 200
    return answer.text


def position(html):
    "The id after which the page wants to hear."
    return re.search('<sse-source [^>]*after="(.*?)"', html)[1]


def fresh_rooms(monkeypatch):
    "The history of rooms in which nothing but the welcome was said."
    monkeypatch.setattr(chat, 'chat', Channel())
    monkeypatch.setattr(chat, 'history', {room: deque([chat.Message('Host', 'Welcome')], maxlen=chat.KEPT) for room in chat.Room})
    return chat.history


def fresh_places(monkeypatch):
    "A plan of three tasks, of which it keeps the last five moves."
    monkeypatch.setattr(plan, 'plan', Channel(MemoryLog(maxlen=5)))
    monkeypatch.setattr(plan, 'places', {1: 1, 2: 1, 3: 2})
    return plan.places


class Model:
    "A model that says what the test tells it to, from any thread."
    def __init__(self): self.asked, self.left = [], 0

    async def ask(self, messages):
        self.loop, self.words = asyncio.get_running_loop(), asyncio.Queue()
        self.asked.append(messages)
        try:
            while (word := await self.words.get()) is not None:
                if isinstance(word, Exception): raise word
                yield word
        finally: self.left += 1

    def say(self, *words):
        "`None` is the end of the answer, and an exception is its failure."
        for word in words: self.loop.call_soon_threadsafe(self.words.put_nowait, word)


def fresh_chats(monkeypatch):
    "No conversation yet, with such a model."
    model = Model()
    monkeypatch.setattr(answer, 'model', SimpleNamespace(ask=model.ask, said=answer.model.said, __file__=answer.model.__file__))
    monkeypatch.setattr(answer, 'live', Channel())
    monkeypatch.setattr(answer, 'chats', {})
    monkeypatch.setattr(answer, 'asking', asyncio.Lock())
    return model


def fresh_oven(monkeypatch, loaves=6):
    "An oven for so many loaves, each of which is done when `release` is called."
    oven = Semaphore(0)
    monkeypatch.setattr(job, 'time', SimpleNamespace(sleep=lambda seconds: oven.acquire(timeout=20)))
    monkeypatch.setattr(job, 'jobs', Channel())
    monkeypatch.setattr(job, 'LOAVES', loaves)
    return oven


def fresh_todo(*titles):
    "A list of so many things to do, the first of which has the number 1."
    todo.db.execute('delete from todo')
    todo.todo.insert_all([dict(title=title) for title in titles])
    return todo.todo


def shell_command(html):
    "What the page says that one may type into a shell."
    return unescape(re.search('<pre[^>]*class="command"[^>]*><code>(.*?)</code>', html, re.DOTALL)[1])


def still_cells(monkeypatch, every=0.2):
    "A board on which nothing lives, until somebody clicks, and nothing dies."
    monkeypatch.setattr(cells, 'life', Channel())
    monkeypatch.setattr(cells, 'boards', cells.life.live(cells.next_board, every=every))
    monkeypatch.setattr(cells, 'board', cells.Board())
    monkeypatch.setattr(cells, 'next_cells', set)
    monkeypatch.setattr(cells, 'randrange', lambda size: size - 1)  # what falls in falls into a corner
    return cells.board
