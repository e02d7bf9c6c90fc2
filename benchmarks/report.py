"Runs as medians, as a table, and judged."
import os, platform
from importlib.metadata import distributions
from operator import truediv
from pathlib import Path
from statistics import median
from typing import NamedTuple

from .benchmark import number
from .server import DISTURBED


class Spread(NamedTuple):
    "What the rounds gave."
    median: float
    low: float
    high: float

    def __str__(self): return f'{number(self.median)}<br><small>{number(self.low)}–{number(self.high)}</small>'


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
            names = filter(None, (target.ours or ours, target.peer))
            figures = [spread(runs, benchmark.name, target.variant, name, target.metric) for name in names]
            if None in figures: continue
            value = truediv(*(figure.median for figure in figures)) if target.peer else figures[0].median
            met, verdict = target.verdict(value)
            yield met, f'{verdict}: {benchmark.name}, {target.says} ({target.shown(value)})'


def client_bound(run):
    "Whether the client was what limits the server."
    return run.get('client_busy', 0) > 0.9 > run['server_busy']


def row(cells): return f"| {' | '.join(cells)} |"


def label(contender, packages):
    "Its name and version, and the package where that is called otherwise."
    if not contender.package: return contender.name
    version = packages[contender.package]
    named = contender.name.lower() == contender.package
    text = f'{contender.name} {version}' if named else f'{contender.name} ({contender.package} {version})'
    return f'**{text}**' if contender.ours else text


def table(runs, benchmark, contenders, packages):
    "A row for each contender that was measured, a column for each figure."
    def cell(contender, figure):
        if not benchmark.takes(contender, figure.variant): return ''
        return str(spread(runs, benchmark.name, figure.variant, contender.name, figure.metric) or 'none')
    measured = {run['contender'] for run in runs if run['benchmark'] == benchmark.name}
    yield row([benchmark.title, *(figure.title for figure in benchmark.figures)])
    yield row(['---', *('---:' for _ in benchmark.figures)])
    for contender in contenders:
        if contender.name in measured: yield row([label(contender, packages), *(cell(contender, figure) for figure in benchmark.figures)])


def introduction(results):
    "Where and how it was measured."
    env, runs = results['environment'], results['runs']
    server = ', '.join(f"{name} {env['packages'][name]}" for name in ('uvicorn', 'uvloop', 'httptools'))
    rounds = {f"{run['benchmark']} {run['variant']}": 1 + run['round'] for run in sorted(runs, key=lambda run: run['round'])}
    served = [run for run in runs if 'disturbed' in run]
    return (f"Measured on {results['date']}: Python {env['python']}, {server}; "
        f"{env['system']}, {env['cpu']}, {env['cores']} cores, {env['pinning']}. "
        f"Medians of the rounds ({', '.join(f'{name} {count}' for name, count in rounds.items())}), "
        f"and below them the lowest and the highest. "
        f"The client was at most {max((run['client_busy'] for run in served), default=0):.0%} busy, "
        f"and limited the server in {sum(map(client_bound, served))} runs. "
        f"Other work of the machine disturbed {sum(run['disturbed'] > DISTURBED for run in served)} of {len(served)} runs.")


def page(results, benchmarks, contenders):
    "The results in Markdown."
    runs, packages = results['runs'], results['environment']['packages']
    measured = [c for c in contenders if any(run['contender'] == c.name for run in runs)]
    heartbeats = '; '.join(f'{c.name}: {c.heartbeat or "none"}' for c in measured if c.serves)
    ran = {run['benchmark'] for run in runs}
    tables = [line for benchmark in benchmarks if benchmark.name in ran for line in (*table(runs, benchmark, measured, packages), '')]
    targets = [f'- {line}' for _, line in judge(runs, benchmarks, contenders)]
    return '\n'.join([introduction(results), '', *tables, f'Heartbeats of one second, where clients wait: {heartbeats}.', '', *targets, ''])


def environment(pinning):
    "What the figures depend on."
    cpus = [line.partition(':')[2].strip() for line in Path('/proc/cpuinfo').read_text().splitlines() if line.startswith('model name')]
    return {'python': platform.python_version(), 'system': f"{platform.system()} {platform.release().split('-')[0]}",
        'cpu': cpus[0] if cpus else platform.machine(), 'cores': os.cpu_count(), 'pinning': pinning,
        'packages': {d.name: d.version for d in sorted(distributions(), key=lambda d: d.name.lower())}}
