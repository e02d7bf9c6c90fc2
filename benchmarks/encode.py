"From a value to an event for the wire, without a server."
import subprocess, sys
from dataclasses import dataclass
from pkgutil import resolve_name
from timeit import Timer

from .benchmark import Figure, Target
from .server import ROOT, command, prepare
from .source import payload


@dataclass(frozen=True)
class EncodeBenchmark:
    repeats: int = 15
    rounds: tuple = (5, 5)  # of each variant

    name = 'encode'
    title = 'From a value to an event'
    variants = 'text', 'element'
    figures = (
        Figure('text', 'ns', 'Encoding, ns', 'a line of text'),
        Figure('element', 'ns', 'Encoding, ns', 'an element'),
    )
    targets = (
        Target('text', 'ns', 'FastAPI', 1, 'encoding a line of text: no slower'),
        Target('element', 'ns', 'to_xml', 1.1, 'encoding an element: a tenth more than rendering it'),
    )

    def takes(self, contender, variant): return getattr(contender, f'{variant}_encoder') is not None

    def measure(self, contender, variant):
        called = command('encode', contender.spec, variant, self.repeats)
        done = subprocess.run(called, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        return {'ns': float(done.stdout)}


def element():
    from fasthtml.common import Div, P
    return Div(P('hello', cls='x'), id='m')


def main(core, parent, contender, variant, repeats):
    "Print the nanoseconds for one value, in the quickest of some repeats."
    prepare(core, parent)
    encode, value = getattr(resolve_name(contender)(), f'{variant}_encoder')(), payload(0) if variant == 'text' else element()
    timer = Timer('encode(value)', globals={'encode': encode, 'value': value})
    number = timer.autorange()[0] // 10 + 1
    print(min(timer.repeat(int(repeats), number)) / number * 1e9)


if __name__ == '__main__': main(*sys.argv[1:])
