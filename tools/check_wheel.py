"""Build the wheel, install it away from the source, and check that it is sound.

It has to be whole, every public name can be imported and has its type, and it streams."""
import os, subprocess, sys, tempfile
from pathlib import Path
from project import PACKAGE, ROOT, copy_into

IMPORT_ALL = '''
import importlib, pkgutil, pathlib, sys, {0}
assert pathlib.Path({0}.__file__).is_relative_to(sys.argv[1]), 'imported from ' + {0}.__file__
for module in pkgutil.walk_packages({0}.__path__, '{0}.'): importlib.import_module(module.name)
exec('from {0} import *')
'''.format(PACKAGE)

STREAM = '''
import asyncio
from fasthtml.common import fast_app
from {0} import sse
from {0}.testing import open_stream
app, rt = fast_app(secret_key='of no use')
@rt
@sse
async def events(): yield 'it streams'
async def main():
    async with open_stream(app, '/events') as stream: assert (await stream.next()).data == 'it streams'
asyncio.run(main())
'''.format(PACKAGE)

def run(*args, **kwargs):
    done = subprocess.run([sys.executable, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs)
    if done.returncode: sys.exit(f'{done.stdout}\nThe wheel is not sound.')

def files(folder): return {p.relative_to(folder) for p in (folder/PACKAGE).rglob('*') if p.is_file() and p.parent.name != '__pycache__'}

def main(tmp):
    run('-m', 'build', '--outdir', tmp, copy_into(tmp))  # what earlier builds left beside the source would get into the wheel
    wheel, = tmp.glob('*.whl')
    home = tmp/'home'
    run('-m', 'pip', 'install', '--disable-pip-version-check', '--no-deps', '--no-index', '--target', home, wheel)
    if missing := files(ROOT) - files(home): sys.exit(f"The wheel lacks {', '.join(map(str, sorted(missing)))}")
    run('-c', IMPORT_ALL + STREAM, home, cwd=tmp, env=os.environ | {'PYTHONPATH': str(home)})
    mypy = '-m', 'mypy', '--config-file', ROOT/'pyproject.toml', '--follow-imports=silent', '--cache-dir', tmp/'mypy'
    run(*mypy, ROOT/'tests/typing/api.py', cwd=tmp, env=os.environ | {'MYPYPATH': str(home)})
    print(f'{wheel.name}: {len(files(home))} files, every module can be imported, the types are as promised, and it streams')

if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as tmp: main(Path(tmp).resolve())
