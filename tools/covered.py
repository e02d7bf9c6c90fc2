"""Say how much of its module each notebook covers, and how much of the package the notebooks cover with the tests that ran before.

The lessons of a notebook run in a process of their own, inside the exported module: what they change there, they change in what is
measured. Fails where too few of the branches are covered."""
import io, json, os, subprocess, sys, tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from coverage import Coverage
from execnb.shell import CaptureShell
from fastcore.nbio import read_nb
from fastcore.xtras import working_directory
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.processors import _default_exp
from project import PACKAGE, ROOT

ENOUGH = 97  # percent of the branches of the package

def measuring(**settings): return Coverage(config_file=ROOT/'pyproject.toml', data_file=ROOT/'.coverage', **settings)

def is_lesson(cell, skipped):
    "Whether a cell is run to show something, and is not exported"
    runs = cell.cell_type == 'code' and cell.directives.get('eval') != 'false'
    return runs and not cell.directives.keys() & {'export', 'exporti', 'exports', *skipped}

def shell_in(module, path):
    "A shell whose cells run in the namespace of `module`"
    shell = CaptureShell(path)
    vars(module).update({name: value for name, value in shell.user_ns.items() if name not in vars(module)})
    shell.user_module, shell.user_ns = module, vars(module)
    return shell

def cover(path, name):
    "Run the lessons of a notebook; how many of the lines and branches of its module were run, in percent"
    coverage = measuring()
    coverage.start()
    module = import_module(name)
    shell, nb = shell_in(module, path), read_nb(path)
    with working_directory(path.parent):
        for cell in nb.cells:
            if is_lesson(cell, get_config().tst_flags.split()): shell.run(cell.source)
            if shell.exc: raise shell.exc
    coverage.stop()
    coverage.save()
    return coverage.report(include=module.__file__, file=io.StringIO(), skip_covered=False)

def cover_apart(path, name):
    "The same in a process of its own"
    done = subprocess.run([sys.executable, __file__, path, name], capture_output=True, text=True)
    if done.returncode: sys.exit(f'{path} does not run inside {name}:\n{done.stderr}')
    return float(done.stdout.split()[-1])

def branches():
    "The share of all branches that tests and notebooks have run together, in percent; says what they have not"
    coverage = measuring()
    coverage.load()
    coverage.combine()
    coverage.save()
    coverage.report()
    with tempfile.TemporaryDirectory() as folder:
        coverage.json_report(outfile=f'{folder}/totals.json')
        totals = json.loads(Path(folder, 'totals.json').read_text())['totals']
    return 100 * totals['covered_branches'] / totals['num_branches']

def main():
    found = [(path, _default_exp(read_nb(path))) for path in sorted(nbglob(as_path=True))]
    notebooks = [(path.absolute(), f'{PACKAGE}.{exported}') for path, exported in found if exported]
    with ThreadPoolExecutor(os.cpu_count()) as threads: shares = [*threads.map(lambda each: cover_apart(*each), notebooks)]
    share = branches()
    print('\nEach notebook covers of its own module, alone:')
    for (_, name), percent in zip(notebooks, shares): print(f'{percent:6.1f} %  {name}')
    print(f'\nTests and notebooks cover {share:.1f} % of the branches of {PACKAGE}, of {ENOUGH} % that they have to')
    return share < ENOUGH

if __name__ == '__main__': sys.exit(print(cover(Path(sys.argv[1]), sys.argv[2])) if len(sys.argv) == 3 else main())
