"Runs as medians, as a table, and judged."
import os, platform
from importlib.metadata import distributions
from pathlib import Path
from statistics import median
from typing import NamedTuple

from .server import DISTURBED


class Spread(NamedTuple):
    "What the rounds gave."
    median: float
    low: float
    high: float

    def __str__(self): return f'{number(self.median)}<br><small>{number(self.low)}–{number(self.high)}</small>'


def number(value): return f'{value:,.0f}' if value >= 100 else f'{value:#.3g}'


def spread(runs, benchmark, variant, contender, metric):
    "The `Spread` of a metric over the rounds, or `None` where it was not measured."
    key = benchmark, variant, contender
    values = [run[metric] for run in runs if (run['benchmark'], run['variant'], run['contender']) == key and metric in run]
    return Spread(median(values), min(values), max(values)) if values else None


def judge(runs, benchmarks, contenders):
    "A line on each target for which there are runs, and whether it is met."
    ours = next(contender.name for contender in contenders if contender.ours)
    for benchmark in benchmarks:
        for target in benchmark.targets:
            figures = [spread(runs, benchmark.name, target.variant, name, target.metric) for name in (ours, target.peer)]
            if None in figures: continue
            ratio = figures[0].median / figures[1].median
            met, verdict = target.verdict(ratio)
            yield met, f'{verdict}: {benchmark.name}, {target.says} ({ratio:.2f} × {target.peer}, {target.bound})'


def client_bound(run):
    "Whether the client was what limits the server."
    return run.get('client_busy', 0) > 0.9 > run['server_busy']


def row(cells): return f"| {' | '.join(cells)} |"


def label(contender, packages):
    "Its name and version, and the package where that is called otherwise."
    if not contender.package: return contender.name
    version = packages[contender.package]
    text = f'{contender.name} {version}' if contender.name.lower() == contender.package else f'{contender.name} ({contender.package} {version})'
    return f'**{text}**' if contender.ours else text


def table(runs, benchmarks, contenders, packages):
    "A row for each contender, a column for each figure."
    figures = [(benchmark, figure) for benchmark in benchmarks for figure in benchmark.figures]
    def cell(contender, benchmark, figure):
        if not benchmark.takes(contender, figure.variant): return ''
        return str(spread(runs, benchmark.name, figure.variant, contender.name, figure.metric) or 'none')
    yield row(['', *(figure.title for _, figure in figures)])
    yield row(['---', *('---:' for _ in figures)])
    for contender in contenders: yield row([label(contender, packages), *(cell(contender, *f) for f in figures)])


def introduction(results):
    "Where and how it was measured."
    env, runs = results['environment'], results['runs']
    server = ', '.join(f"{name} {env['packages'][name]}" for name in ('uvicorn', 'uvloop', 'httptools'))
    rounds = {run['variant']: 1 + run['round'] for run in sorted(runs, key=lambda run: run['round'])}
    served = [run for run in runs if 'disturbed' in run]
    return (f"Measured on {results['date']}: Python {env['python']}, {server}; {env['system']}, {env['cpu']}, {env['cores']} cores, {env['pinning']}. "
        f"Medians of the rounds ({', '.join(f'{name} {count}' for name, count in rounds.items())}), and below them the lowest and the highest. "
        f"The client was at most {max((run['client_busy'] for run in served), default=0):.0%} busy, and limited the server in {sum(map(client_bound, served))} runs. "
        f"Other work of the machine disturbed {sum(run['disturbed'] > DISTURBED for run in served)} of {len(served)} runs.")


def page(results, benchmarks, contenders):
    "The results in Markdown."
    measured = [c for c in contenders if any(run['contender'] == c.name for run in results['runs'])]
    heartbeats = '; '.join(f'{c.name}: {c.heartbeat or "none"}' for c in measured if c.serves)
    targets = [f'- {line}' for _, line in judge(results['runs'], benchmarks, contenders)]
    return '\n'.join([introduction(results), '', *table(results['runs'], benchmarks, measured, results['environment']['packages']),
        '', f'Heartbeats of one second: {heartbeats}.', '', *targets, ''])


def environment(pinning):
    "What the figures depend on."
    cpus = [line.partition(':')[2].strip() for line in Path('/proc/cpuinfo').read_text().splitlines() if line.startswith('model name')]
    return {'python': platform.python_version(), 'system': f"{platform.system()} {platform.release().split('-')[0]}",
        'cpu': cpus[0] if cpus else platform.machine(), 'cores': os.cpu_count(), 'pinning': pinning,
        'packages': {d.name: d.version for d in sorted(distributions(), key=lambda d: d.name.lower())}}
