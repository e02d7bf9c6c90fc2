"Measure, compare and judge: see `python -m benchmarks --help`."
import argparse, gc, json, random, signal, sys
from collections import Counter
from datetime import date
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from .blocked import BlockedBenchmark
from .client import Fault
from .contenders import CONTENDERS, Contender
from .encode import EncodeBenchmark
from .fanout import FanoutBenchmark
from .idle import IdleBenchmark
from .report import client_bound, environment, judge, page
from .server import CLIENT_CORE, DISTURBED, PINNING, allow_many_files, pin
from .stream import StreamBenchmark

BENCHMARKS = StreamBenchmark(), IdleBenchmark(), EncodeBenchmark(), FanoutBenchmark(), BlockedBenchmark()
QUICK = (StreamBenchmark(2000, 100, rounds=(1, 1, 1)), IdleBenchmark(100, 0.5, 2, rounds=(1,)), EncodeBenchmark(3, rounds=(1, 1)),
    FanoutBenchmark(100, 200, 4, 10, 0.5, rounds=(1, 1, 1, 1)), BlockedBenchmark(20, 100, rounds=(1,)))
RESULTS = Path(__file__).parent/'results'
REPEATING = 90  # seconds, at the end, for runs that other work disturbed


class Case(NamedTuple):
    "What one run measures."
    benchmark: Any
    variant: str
    contender: Contender
    round: int

    def measure(self):
        gc.collect()
        run = self.benchmark.measure(self.contender, self.variant)
        print(f'{self.benchmark.name} {self.round + 1}, {self.variant}, {self.contender.name}:', shown(run), flush=True)
        return run

    def record(self, run):
        names = {'benchmark': self.benchmark.name, 'variant': self.variant, 'contender': self.contender.name, 'round': self.round}
        return names | {metric: float(f'{value:.5g}') for metric, value in run.items()}


def disturbance(run): return run.get('disturbed', 0)


def shown(run):
    text = ', '.join(f'{name} {value:.4g}' for name, value in run.items())
    return text + ' -- THE CLIENT LIMITS THE SERVER' * client_bound(run) + ' -- disturbed' * (disturbance(run) > DISTURBED)


def schedule(benchmarks, contenders, rounds):
    "All cases: every contender in every round, in an order that changes."
    for benchmark in benchmarks:
        planned = {variant: rounds or own for variant, own in zip(benchmark.variants, benchmark.rounds)}
        for number in range(max(planned.values())):
            variants = [variant for variant in planned if number < planned[variant]]
            cases = [Case(benchmark, variant, c, number) for variant in variants for c in contenders if benchmark.takes(c, variant)]
            yield from random.sample(cases, len(cases))


def measure(cases, repeating):
    "A record of each case; what was disturbed is tried again for some seconds, and the less disturbed run is kept."
    gc.disable()
    allow_many_files()
    pin(CLIENT_CORE)
    runs = {case: case.measure() for case in cases}
    tries, end = Counter(), monotonic() + repeating
    while (again := [case for case in runs if disturbance(runs[case]) > DISTURBED]) and monotonic() < end:
        case = min(again, key=tries.__getitem__)
        tries[case] += 1
        runs[case] = min(runs[case], case.measure(), key=disturbance)
    return [case.record(run) for case, run in runs.items()]


def write(results, folder, benchmarks):
    "Results, table and plot."
    from .plot import draw
    folder.mkdir(parents=True, exist_ok=True)
    (folder/'results.json').write_text(json.dumps(results, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
    (folder/'table.md').write_text(page(results, benchmarks, CONTENDERS), encoding='utf-8')
    draw(results['runs'], benchmarks, CONTENDERS, folder/'plot.svg')


def arguments():
    parser = argparse.ArgumentParser('python -m benchmarks', description='Measures streams of events, here and with other libraries. '
        'A run of everything writes benchmarks/results; it fails if a target is missed or an event is lost.')
    for option, known in (('--benchmark', BENCHMARKS), ('--contender', CONTENDERS)):
        names = [each.name for each in known]
        parser.add_argument(option, nargs='+', metavar='NAME', choices=names, help=', '.join(names))
    parser.add_argument('--rounds', type=int, metavar='N', help='how often to run each')
    parser.add_argument('--quick', action='store_true', help='small sizes and one round, to see that all works')
    parser.add_argument('--output', type=Path, metavar='FOLDER', help='where to write the results of a run of some')
    parser.add_argument('--redraw', action='store_true', help='run nothing, and write table and plot from results.json')
    return parser.parse_args()


def main():
    args = arguments()
    if sys.platform != 'linux': sys.exit('The benchmarks read /proc and need Linux.')
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends the process: a loop would cancel a task, which may just have ended by itself
    benchmarks = [b for b in (QUICK if args.quick else BENCHMARKS) if not args.benchmark or b.name in args.benchmark]
    contenders = [c for c in CONTENDERS if not args.contender or c.name in args.contender]
    partial = args.quick or args.benchmark or args.contender or args.rounds
    if args.redraw: results = json.loads(((args.output or RESULTS)/'results.json').read_text(encoding='utf-8'))
    else:
        runs = measure(schedule(benchmarks, contenders, args.rounds), repeating=0 if partial else REPEATING)
        results = {'date': date.today().isoformat(), 'environment': environment(PINNING), 'runs': runs}
    if args.output or not partial: write(results, args.output or RESULTS, benchmarks)
    judged = list(judge(results['runs'], benchmarks, CONTENDERS))
    print(*(line for _, line in judged), sep='\n')
    if not all(met for met, _ in judged): sys.exit('Targets were missed.')


if __name__ == '__main__':
    try: main()
    except Fault as e: sys.exit(f'FAILED: {e}')
