"What keeps the package readable: rules that a stranger can rely on in each notebook and module."
import ast, re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median

import pytest
from fastcore.nbio import read_nb

import fasthtml_sse

PACKAGE = Path(fasthtml_sse.__file__).parent
ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT/'nbs').rglob('*.ipynb'))
MODULES = sorted(path for path in PACKAGE.rglob('*.py') if path.name not in ('_modidx.py', '__init__.py'))
LESSONS = [path for path in NOTEBOOKS if path.parent.name == 'broadcast' or path.stem in ('response', 'hub')]

def name_of(path: Path) -> str: return str(path.relative_to(PACKAGE if path.suffix == '.py' else ROOT/'nbs'))

each_module = pytest.mark.parametrize('module', MODULES, ids=name_of)
each_notebook = pytest.mark.parametrize('notebook', NOTEBOOKS, ids=name_of)


def exported(notebook: Path) -> list[str]:
    "The code of each export cell."
    cells = [cell.source for cell in read_nb(notebook).cells if cell.cell_type == 'code']
    return [source.partition('\n')[2].strip() for source in cells if re.match(r'#\| ?exporti?\b', source)]

def defines(code: str) -> bool:
    "Whether a cell does more than import."
    return any(not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr) for node in ast.parse(code).body)

@each_notebook
def test_no_line_of_code_is_longer_than_140(notebook):
    cells = [cell.source for cell in read_nb(notebook).cells if cell.cell_type == 'code']
    assert [line for cell in cells for line in cell.splitlines() if len(line) > 140] == []

@each_notebook
def test_an_export_cell_has_at_most_40_lines(notebook):
    sizes = [len(code.splitlines()) for code in exported(notebook)]
    assert [size for size in sizes if size > 40] == []

@pytest.mark.parametrize('notebook', LESSONS, ids=name_of)
def test_the_notebooks_of_the_engine_go_in_small_steps(notebook):
    sizes = [len(code.splitlines()) for code in exported(notebook) if defines(code)]
    assert median(sizes) <= 12


@cache
def imported_names() -> set[str]:
    "What a module of the package takes from another."
    trees = [ast.parse(path.read_text()) for path in PACKAGE.rglob('*.py')]
    imports = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    return {name.name for node in imports for name in node.names}

def all_of(module: Path) -> set[str]:
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '__all__': return set(ast.literal_eval(node.value))
    return set()

# Their users take them from the module: `swap.append`, `from fasthtml_sse.testing import open_stream`
USED_FROM_OUTSIDE = {'core/swap.py', 'testing.py'}

@each_module
def test_all_names_what_users_or_other_modules_take(module):
    if name_of(module) in USED_FROM_OUTSIDE: return
    assert sorted(all_of(module) - set(fasthtml_sse.__all__) - imported_names()) == []


def written_privates(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or isinstance(node.ctx, ast.Load): continue
        private = node.attr.startswith('_') and not node.attr.startswith('__')
        if private and ast.unparse(node.value) not in ('self', 'cls'): yield ast.unparse(node)

@each_module
def test_no_module_writes_to_the_private_attributes_of_another_object(module):
    assert list(written_privates(ast.parse(module.read_text()))) == []


@pytest.mark.parametrize('cls', [fasthtml_sse.Channel, fasthtml_sse.EventParser, fasthtml_sse.OOBStreamBuilder, fasthtml_sse.SSEStream,
    fasthtml_sse.Subscription], ids=lambda cls: cls.__name__)
def test_errors_name_the_class_that_users_have(cls):
    "Not the internal bases it is made of."
    methods = [getattr(cls, name) for name in dir(cls) if not name.startswith('_')]
    assert [m.__qualname__ for m in methods if hasattr(m, '__qualname__') and not m.__qualname__.startswith(f'{cls.__name__}.')] == []


@pytest.mark.parametrize('file', sorted(Path(fasthtml_sse.__file__).parent.glob('sse_*.js')), ids=lambda file: file.name)
def test_no_line_of_the_script_is_longer_than_140(file):
    assert [line for line in file.read_text().splitlines() if len(line) > 140] == []
