"A board of 2,500 cells that live and die five times a second, for all visitors alike, and only while somebody looks."
from collections import Counter, deque
from random import randrange

from fasthtml.common import *
from fasthtml_sse import *

from .layout import example

rt = APIRouter('/cells')

SIZE, EVERY, REST = 50, 0.2, 40  # cells of a side, seconds between two generations, and generations until something falls in
DEAD, ALIVE = Td(), Td(cls='alive')
BLOCK = [(right, down) for right in (-1, 0, 1) for down in (-1, 0, 1)]
SEED = [(0, 0), (1, 0), (-1, 1), (0, 1), (0, 2)]  # what a click sows: it grows for a long time

life = Channel()
sown = deque(maxlen=50)  # where visitors have clicked

class Board:
    cells, generation = set(), 0

board = Board()

def around(x, y, offsets): return [((x + right) % SIZE, (y + down) % SIZE) for right, down in offsets]

def next_cells(cells):
    "Three make a cell live, and four keep it alive: itself counts."
    near = Counter(spot for cell in cells for spot in around(*cell, BLOCK))
    return {cell for cell, count in near.items() if count == 3 or count == 4 and cell in cells}

def show():
    rows = [Tr(*[ALIVE if (x, y) in board.cells else DEAD for x in range(SIZE)]) for y in range(SIZE)]
    return Div(Table(Tbody(*rows), aria_label='Cells', hx_post=sow, hx_trigger='click[target.cellIndex >= 0]', hx_swap='none',
                     hx_vals='js:{x: event.target.cellIndex, y: event.target.parentNode.rowIndex}'),
               P(Span(f'Generation {board.generation:,}'), Span(f'{len(board.cells)} of {SIZE ** 2:,} live')), id='cells')

def next_board():
    "It is called when there is news and somebody looks, at most every `EVERY` seconds. By then there is news again."
    if board.generation % REST == 0: sown.append((randrange(SIZE), randrange(SIZE)))
    board.cells, board.generation = next_cells(board.cells), board.generation + 1
    while sown: board.cells.update(around(*sown.popleft(), SEED))
    life.publish_sync('next')
    return show()

boards = life.live(next_board, every=EVERY)

@rt('/')
def index():
    look = ('Click a cell, and open this page twice: there is one board for all. It is rendered once for everybody, and each page '
            'changes the cells that differ. When nobody looks, the world stands still.')
    return example('Cells', look, show(), SSESource(changes), code=__file__)

@rt
def changes(): return boards.response()

@rt
def sow(x: int, y: int): sown.append((x % SIZE, y % SIZE))
