"What a benchmark declares: the figures it gives, and the targets they have to meet."
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    "A column of the table and a mark in the plot."
    variant: str
    metric: str  # its key in what `measure` returns; the less the better
    panel: str  # the title of the plot that it stands in
    mark: str = ''  # what tells it from others there

    @property
    def title(self): return f'{self.panel}, {self.mark}' if self.mark else self.panel


@dataclass(frozen=True)
class Target:
    "Ours may be at most `limit` times the figure of a peer, or `limit` itself where there is none."
    variant: str
    metric: str
    peer: str | None
    limit: float
    says: str
    noise: float = 0  # what is let pass above the limit, and said to be within noise
    ours: str | None = None  # whose figure it is; the first of ours if nobody is named

    def verdict(self, value):
        "Whether it is met, and in which words."
        if value <= self.limit: return True, 'ok'
        return (True, 'ok, within noise') if value <= self.limit * (1 + self.noise) else (False, 'MISSED')

    def shown(self, value):
        "What was found, and what it may be."
        found = number(value) + (f' × {self.peer}' if self.peer else '')
        return f'{found}, at most {number(self.limit)}' + (f', and {self.noise:.0%} for noise' if self.noise else '')


def number(value): return f'{value:,.0f}' if value >= 100 else f'{value:#.3g}'
