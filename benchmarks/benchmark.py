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
    "Ours may be at most `limit` times the figure of a peer."
    variant: str
    metric: str
    peer: str
    limit: float
    says: str
    noise: float = 0  # what is let pass above the limit, and said to be within noise

    def verdict(self, ratio):
        "Whether it is met, and in which words."
        if ratio <= self.limit: return True, 'ok'
        return (True, 'ok, within noise') if ratio <= self.limit * (1 + self.noise) else (False, 'MISSED')

    @property
    def bound(self): return f'at most {self.limit:.2f}' + (f', and {self.noise:.0%} for noise' if self.noise else '')
