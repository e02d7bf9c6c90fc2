"A chat with rooms: one channel, a topic for each room, and counts of what is new in the others."
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from random import choice
from zlib import crc32

from fasthtml.common import *
from fasthtml_sse import *

from .layout import example

rt = APIRouter('/chat')

Room = str_enum('Room', 'Lobby', 'Garden', 'Workshop')
NAMES = 'Ada Alan Edsger Frances Grace Hedy Ken Lynn Niklaus Radia'.split()
KEPT = 50  # messages of a room that a page begins with

chat, numbers = Channel(), count(1)

@dataclass
class Message:
    name: str
    text: str
    number: int = field(default_factory=numbers.__next__)
    time: datetime = field(default_factory=datetime.now)

    def line(self, cls='new'):
        "The message in a page. What a visitor typed is text in an element, so it stays text."
        hue = crc32(self.name.encode()) % 360
        return Li(I(self.name[0], style=f'--hue: {hue}', aria_hidden='true'), B(self.name),
                  Time(f'{self.time:%H:%M}'), P(self.text), cls=cls)

history = {room: deque([Message('Host', f'Welcome to the {room.lower()}.')], maxlen=KEPT) for room in Room}

def unread(session, room): return sum(message.number > session.get(room, 0) for message in history[room])

def enter(session, room):
    "The visitor has seen all of this room now, and of the one they come from."
    for seen in (session.get('room', room), room): session[seen] = history[seen][-1].number
    session['room'] = room

def door(session, room, here):
    "A link to a room, with a mark for each message that is new in it; the style sheet counts them."
    marks = None if room == here else Span(*[I()] * unread(session, room), id=f'new-{room}', cls='unread')
    return A(room, marks, href=index.to(room=room), aria_current='page' if room == here else None)

@rt('/')
async def index(session, room: Room = Room.Lobby):
    after = await chat.tail()  # before the history is read
    enter(session, room)
    look = ('Each room is a topic of one channel. A page reads its own room, and that there is news in '
            'the others, over one connection. It asks where the stream stands before it reads the '
            'history, so no message is lost, and awaits nothing in between, so none comes twice.')
    name = session.setdefault('name', choice(NAMES))
    return example('Chat', look, Div(
        Nav(*[door(session, other, room) for other in Room], aria_label='Rooms'),
        Div(Ol(*[message.line('') for message in history[room]], id='messages'),
            role='log', tabindex=0, aria_label=room, cls='log'),
        Form(Input(id='name', value=name, maxlength=20, required=True, autocomplete='nickname', aria_label='Your name'),
             Input(id='text', placeholder=f'Say something in the {room.lower()}', maxlength=300, required=True,
                   autocomplete='off', aria_label='Message'),
             Button('Send'), id='say', hx_preserve=True, hx_post=send.to(room=room), hx_swap='none',
             hx_on__after_request="if (event.detail.successful) this.text.value = ''"), cls='chat'),
        SSESource(events.to(room=room), after=after), code=__file__)

@rt
async def send(session, room: Room, name: str, text: str):
    "A message for those who are in the room, and a mark for those who are elsewhere."
    if not (name.strip() and text.strip()): return
    message = Message(name.strip()[:20], text.strip()[:300])
    session['name'] = message.name
    history[room].append(message)
    await chat.publish(swap.append(message.line(), '#messages'), room)
    await chat.publish(swap.append(I(), f'#new-{room}'), f'outside {room}')

@rt
def events(room: Room): return chat.response(room, *[f'outside {other}' for other in Room if other != room])
