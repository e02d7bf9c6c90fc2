"The house: names, layers, metadata."
import ast, configparser, pkgutil, tomllib
from pathlib import Path

import fasthtml.common
import pytest

import fasthtml_sse
from tests.support import ROOT

PROJECT = tomllib.loads((ROOT/'pyproject.toml').read_text())['project']
LAYERS = [
    'core.event',
    'core.swap',
    'core.source',
    'core.servers',
    'core.hub',
    'core.response',
    'core.streaming',
    'core.model',
    'broadcast.store',
    'broadcast.log',
    'broadcast.stored',
    'broadcast.library',
    'broadcast.table',
    'broadcast.sqlite',
    'broadcast.redis',
    'broadcast.cursor',
    'broadcast.checks',
    'broadcast.run',
    'broadcast.snapshot',
    'broadcast.live',
    'broadcast.channel',
    'page',
    'testing',
    '__main__',
]


def imports(module):
    "The modules of the package that `module` imports."
    path = Path(fasthtml_sse.__file__).parent/(module.replace('.', '/') + '.py')
    package = ['fasthtml_sse', *module.split('.')[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[:len(package) + 1 - node.level] if node.level else []
            full = '.'.join(base + ([node.module] if node.module else []))
            if not full.startswith('fasthtml_sse'): continue
            of_package = node.module is None or full.endswith(('.core', '.broadcast'))
            yield from [f'{full}.{a.name}' for a in node.names] if of_package else [full]
        elif isinstance(node, ast.Import): yield from (a.name for a in node.names if a.name.startswith('fasthtml_sse'))


def test_the_layers_are_all_there_is():
    modules = {m.name.removeprefix('fasthtml_sse.') for m in pkgutil.walk_packages(fasthtml_sse.__path__, 'fasthtml_sse.') if not m.ispkg}
    assert modules - {'_modidx'} == set(LAYERS)

@pytest.mark.parametrize('module', LAYERS)
def test_imports_go_down_only(module):
    below = {f'fasthtml_sse.{m}' for m in LAYERS[:LAYERS.index(module)]}
    assert set(imports(module)) <= below

def test_nothing_imports_testing(): assert not any('fasthtml_sse.testing' in imports(m) for m in LAYERS)

def test_public_names_clash_with_nothing_of_fasthtml():
    assert not set(fasthtml_sse.__all__) & set(vars(fasthtml.common))
    assert sorted(fasthtml_sse.__all__) == fasthtml_sse.__all__ == [n for n in fasthtml_sse.__all__ if hasattr(fasthtml_sse, n)]

def test_the_types_of_every_public_name_are_checked():
    used = {node.id for node in ast.walk(ast.parse((ROOT/'tests/typing/api.py').read_text())) if isinstance(node, ast.Name)}
    assert set(fasthtml_sse.__all__) | {'open_stream', 'capture'} <= used

def test_streaming_defines_its_classes():
    from fasthtml_sse.core import streaming
    classes = streaming.StreamConfig, streaming.SSEStream, streaming.OOBStreamBuilder
    assert {c.__module__ for c in classes} == {'fasthtml_sse.core.streaming'}

def test_settings_ini_says_what_pyproject_says():
    ini = configparser.ConfigParser(delimiters=['='], interpolation=None)
    ini.read(ROOT/'settings.ini')
    said = ini['DEFAULT']
    assert said['lib_name'] == PROJECT['name'] and said['description'] == PROJECT['description']
    assert said['version'] == fasthtml_sse.__version__
    assert '>=' + said['min_python'] == PROJECT['requires-python'] and said['requirements'].split() == PROJECT['dependencies']
    assert said['lib_path'] == 'fasthtml_sse' and said['nbs_path'] == 'nbs'

def test_the_seven_stand_at_the_top():
    assert all((ROOT/name).exists() for name in 'nbs fasthtml_sse settings.ini setup.py pyproject.toml README.md LICENSE'.split())
