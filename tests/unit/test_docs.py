"The pages: no Python is shown that does not run, and tables name what there is."
import ast, json

import pytest
from markdown_it import MarkdownIt

from tests.support.servers import ROWS
from tests.support import ROOT

TEXTS = {ROOT/'README.md': ROOT/'nbs/index.ipynb', ROOT/'CONTRIBUTING.md': None, ROOT/'CHANGELOG.md': None}  # where the code runs
DEFINITIONS = ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef
NOT_RUN = 'notest', 'eval: false', 'eval:false'


def is_hidden(path): return any(part.startswith(('.', '_')) for part in path.relative_to(ROOT).parts)


PAGES = sorted(path for path in (ROOT/'nbs').rglob('*.ipynb') if not is_hidden(path))


def is_python(language, code):
    "Whether a block is Python: it says so, or it says nothing and defines or imports something."
    if language: return language.strip('{}. ').lower() in ('python', 'python3', 'py', 'py3', 'pycon', 'ipython', 'ipython3')
    try: return any(isinstance(node, DEFINITIONS) for node in ast.walk(ast.parse(code)))
    except SyntaxError: return False


def blocks(text):
    "The Python blocks of a Markdown text, each with its first line."
    for token in MarkdownIt().parse(text):
        language = token.info.split()[0] if token.info.strip() else ''
        if token.type in ('fence', 'code_block') and is_python(language, token.content): yield token.map[0] + 1, token.content.strip()


def cells(path):
    "Number, kind and text of each cell."
    for n, cell in enumerate(json.loads(path.read_text())['cells']): yield n, cell['cell_type'], ''.join(cell['source'])


def run_by_tests(path):
    "The code of the cells that run, without directives."
    if path is None: return
    for _, kind, source in cells(path):
        directives = [line[2:].strip() for line in source.splitlines() if line.startswith('#|')]
        if kind == 'code' and not any(d.startswith(NOT_RUN) for d in directives):
            yield '\n'.join(line for line in source.splitlines() if not line.startswith('#|')).strip()


def unrun(text, place, notebook):
    "Where `text` shows Python that no cell of `notebook` runs."
    ran = set(run_by_tests(notebook))
    return [f'{place}, line {line}: {code.splitlines()[0]}' for line, code in blocks(text) if code not in ran]


@pytest.mark.parametrize('path', PAGES, ids=lambda path: str(path.relative_to(ROOT/'nbs')))
def test_prose_shows_no_python_that_does_not_run(path):
    found = [fault for n, kind, source in cells(path) if kind == 'markdown' for fault in unrun(source, f'cell {n}', path)]
    assert not found, 'put it into a code cell'


@pytest.mark.parametrize('path, notebook', TEXTS.items(), ids=lambda path: path and path.name)
def test_texts_show_no_python_that_does_not_run(path, notebook): assert not unrun(path.read_text(), path.name, notebook)


def test_such_python_is_found_with_its_place():
    prose = 'Text.\n\n```{}\nimport os\n```\n'
    for language in ('python', 'py', '{.python}', ''):
        assert unrun(prose.format(language), 'cell 3', None) == ['cell 3, line 3: import os']
    for language in ('sh', 'text', 'html'): assert unrun(prose.format(language), 'cell 3', None) == []
    assert unrun('Text.\n\n    def f(): pass\n', 'README', None) == ['README, line 3: def f(): pass']
    assert unrun('```\ndata: first\n\n: heartbeat\n```\n', 'cell 3', None) == []

def test_python_that_a_cell_runs_may_be_shown(tmp_path):
    page = tmp_path/'page.ipynb'
    sources = ['#| hide\n', 'import os'], ['#| eval: false\n', 'import sys']
    page.write_text(json.dumps({'cells': [{'cell_type': 'code', 'source': source} for source in sources]}))
    assert unrun('```python\nimport os\n```', 'cell 0', page) == []
    assert unrun('```python\nimport sys\n```', 'cell 0', page) == ['cell 0, line 1: import sys']


def test_the_page_on_stopping_names_the_servers_that_are_tested():
    text = '\n'.join(source for _, kind, source in cells(ROOT/'nbs/how-to/stop.ipynb') if kind == 'markdown')
    table = text.split('| server |')[1].split('\n\n')[0].splitlines()[2:]
    assert [row.split('|')[1].strip().replace('`', '') for row in table] == list(ROWS)
