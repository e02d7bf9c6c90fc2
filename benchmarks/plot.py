"All figures in one picture."
import re
from io import StringIO

import matplotlib
from matplotlib import pyplot as plt, ticker

from .report import spread

OURS, PEERS, INK = '#0072b2', '#8c8c8c', '#222222'
MARKS = 'o', 'D', 's'
STYLE = {'svg.hashsalt': 'benchmarks', 'svg.fonttype': 'none', 'font.family': 'sans-serif', 'font.size': 9, 'axes.titlesize': 10,
    'axes.edgecolor': '#bbbbbb', 'text.color': INK, 'axes.labelcolor': INK, 'xtick.color': INK, 'ytick.color': INK}


def panels(benchmarks):
    "The figures of each panel, by its title."
    found = {}
    for benchmark in benchmarks:
        for figure in benchmark.figures: found.setdefault(figure.panel, []).append((benchmark.name, figure))
    return found


def draw_panel(ax, title, figures, runs, contenders):
    "Points for the medians, lines from the lowest to the highest."
    drawn = [c for c in contenders if any(spread(runs, name, f.variant, c.name, f.metric) for name, f in figures)]
    for mark, (name, figure) in zip(MARKS, figures):
        for y, contender in enumerate(drawn):
            if not (found := spread(runs, name, figure.variant, contender.name, figure.metric)): continue
            color = OURS if contender.ours else PEERS
            ax.plot([found.low, found.high], [y, y], color=color, lw=1.5)
            ax.plot(found.median, y, mark, color=color, mfc=color if mark == MARKS[0] else 'white', ms=6.5)
        if figure.mark: ax.plot([], [], mark, color=INK, mfc=INK if mark == MARKS[0] else 'white', ms=5, label=figure.mark)
    ax.set(title=title, xscale='log', yticks=range(len(drawn)), yticklabels=[c.name for c in drawn], ylim=(len(drawn) - 0.5, -0.5))
    for tick, contender in zip(ax.get_yticklabels(), drawn):
        if contender.ours: tick.set(color=OURS, weight='bold')
    ax.xaxis.set(major_locator=ticker.LogLocator(subs=(1, 2, 5)), major_formatter='{x:,.5g}', minor_locator=ticker.NullLocator())
    ax.grid(axis='x', color='#e6e6e6'); ax.set_axisbelow(True)
    ax.spines[['top', 'right']].set_visible(False); ax.tick_params(left=False)
    if any(figure.mark for _, figure in figures):
        ax.legend(frameon=False, fontsize=8, loc='upper center', bbox_to_anchor=(0.5, -0.12), ncols=3, handletextpad=0.2)


def draw(runs, benchmarks, contenders, path):
    "Write the picture, on a light ground of its own."
    found = {title: figures for title, figures in panels(benchmarks).items() if any(run['benchmark'] == figures[0][0] for run in runs)}
    matplotlib.use('svg')
    with plt.rc_context(STYLE):
        rows = -(-len(found) // 2)
        fig, axes = plt.subplots(rows, 2, figsize=(9, 3.1 * rows), layout='constrained', facecolor='white', squeeze=False)
        for ax in axes.flat: ax.set_visible(False)
        for ax, (title, figures) in zip(axes.flat, found.items()):
            ax.set_visible(True)
            draw_panel(ax, title, figures, runs, contenders)
        fig.savefig(buffer := StringIO(), format='svg', metadata={'Date': None, 'Title': 'Cost of a stream of events, by library'})
        plt.close(fig)
    path.write_text(embeddable(buffer.getvalue()), encoding='utf-8')


def embeddable(svg):
    "The picture no wider than its place, with rules that do not reach beyond it."
    svg = re.sub(r'<svg (.*?) height="[^"]*"', r'<svg id="benchmarks" style="max-width: 100%; height: auto" \1', svg, count=1)
    return re.sub(r' +$', '', svg.replace('*{stroke', '#benchmarks *{stroke'), flags=re.M)
