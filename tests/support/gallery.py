"The gallery as it is when it starts, and its pages."
import re
from collections import deque

from fasthtml.common import Client

from examples import chat, plan
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
