"""How much of its module each notebook covers alone, lines and branches.

The lessons run in a process of their own, inside the exported module: what they change there, they change in what is measured."""
import io, os, subprocess, sys
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
    coverage = Coverage(data_file=None, config_file=get_config().config_path/'pyproject.toml', source_pkgs=[name])
    coverage.start()
    module = import_module(name)
    shell, nb = shell_in(module, path), read_nb(path)
    with working_directory(path.parent):
        for cell in nb.cells:
            if is_lesson(cell, get_config().tst_flags.split()): shell.run(cell.source)
            if shell.exc: raise shell.exc
    coverage.stop()
    return coverage.report(include=module.__file__, file=io.StringIO(), skip_covered=False)

def cover_apart(path, name):
    "The same in a process of its own"
    done = subprocess.run([sys.executable, __file__, path, name], capture_output=True, text=True)
    if done.returncode: sys.exit(f'{path} does not run inside {name}:\n{done.stderr}')
    return float(done.stdout.split()[-1])

def main():
    cfg = get_config()
    found = [(path, _default_exp(read_nb(path))) for path in sorted(nbglob(as_path=True))]
    notebooks = [(path.absolute(), f'{cfg.lib_path.name}.{exported}') for path, exported in found if exported]
    with ThreadPoolExecutor(os.cpu_count()) as threads: shares = [*threads.map(lambda each: cover_apart(*each), notebooks)]
    print('Each notebook covers of its own module, alone:')
    for (_, name), share in zip(notebooks, shares): print(f'{share:6.1f} %  {name}')

if __name__ == '__main__':
    if len(sys.argv) == 3: print(cover(Path(sys.argv[1]), sys.argv[2]))
    else: main()
