"An arrivals board: rows that come, change and go."
import asyncio
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from random import choice, randint, random

from fasthtml.common import *
from fasthtml_sse import *

from .layout import example

rt = APIRouter('/board')

CITIES = """Basel Bergen Bologna Bruges Ghent Graz Lille Lyon Malmö Munich Nantes Porto Riga
Tartu Trieste Turin Utrecht Vienna Zagreb""".split()
MINUTE = 1.2  # seconds that a minute takes here
ROWS, LINES = 7, 4  # how many trains the table and the list hold

def hhmm(minute): return f'{minute // 60 % 24:02}:{minute % 60:02}'

@dataclass
class Train:
    number: int
    city: str
    due: int
    platform: int
    late: int = 0

    @property
    def expected(self): return self.due + self.late

    def row(self, cls='new'):
        status = Em(f'Expected {hhmm(self.expected)}') if self.late else 'On time'
        return Tr(Td(Time(hhmm(self.due))), Th(self.city, Small(f'EC {self.number}'), scope='row'),
                  Td(Strong(self.platform)), Td(status, id=f'status-{self.number}'),
                  id=f'train-{self.number}', cls=cls)

    def line(self):
        return Li(Time(hhmm(self.expected)), Span(self.city), Small(f'platform {self.platform}'),
                  id=f'arrived-{self.number}', cls='new')

class Station:
    "An invented station; every visitor has their own."
    def __init__(self):
        now = datetime.now()
        self.now, self.numbers = now.hour * 60 + now.minute, count(randint(100, 800))
        self.trains, self.arrived = [], deque()
        for _ in range(ROWS): self.announce()

    def announce(self):
        "One more train, due after all others."
        due = max([self.now, *[train.due for train in self.trains]]) + randint(2, 4)
        city = choice([city for city in CITIES if all(city != train.city for train in self.trains)])
        self.trains.append(Train(next(self.numbers), city, due, randint(1, 9)))
        return self.trains[-1]

    def board(self):
        "All of it, for a page that knows nothing yet."
        yield swap.update(hhmm(self.now), '#now')
        yield swap.update([train.row() for train in self.trains], '#trains')
        yield swap.update([], '#arrived')

    def minute(self):
        "What changes within the next minute."
        self.now += 1
        yield swap.update(hhmm(self.now), '#now')
        for train in self.trains.copy():
            left = train.expected - self.now
            if left <= 0: yield from self.arrive(train)
            elif left == 2: yield swap.update(Mark('Arriving'), f'status-{train.number}')
            elif left > 3 and random() < 0.06:
                train.late += randint(1, 4)
                yield swap.replace(train.row('changed'), f'train-{train.number}')
        while len(self.trains) < ROWS: yield swap.append(self.announce().row(), '#trains')

    def arrive(self, train):
        "The train moves from the table to the list, whose oldest line goes."
        self.trains.remove(train)
        self.arrived.append(train)
        yield swap.remove(f'train-{train.number}')
        yield swap.prepend(train.line(), '#arrived')
        if len(self.arrived) > LINES: yield swap.remove(f'arrived-{self.arrived.popleft().number}')

@rt('/')
def index():
    look = ('Each minute is one event with all its changes: a row appended, replaced or removed, '
            'a cell updated, a line prepended to the list below. The first event is the whole '
            'board, so a page that comes back after a break is right again.')
    columns = [Th(name, scope='col') for name in ('Due', 'From', 'Platform', 'Status')]
    return example('Arrivals', look,
        Table(Caption('Next trains', Time(id='now')), Thead(Tr(*columns)), Tbody(id='trains')),
        H2('Just arrived', id='list'), Ul(id='arrived', aria_live='polite', aria_labelledby='list'),
        SSESource(changes), code=__file__)

@rt
@sse
async def changes():
    "The board, and then what each minute brings."
    station = Station()
    yield list(station.board())
    while True:
        await asyncio.sleep(MINUTE)
        yield list(station.minute())
