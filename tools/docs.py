"""Build the site from the notebooks into `_docs`, without Quarto and without a network.

nbdev processes the notebooks, smalldocs renders them; what lies between the two is here."""
import inspect, posixpath, re, shutil, subprocess, sys
from importlib import import_module
from itertools import groupby
from pathlib import Path
from fastcore.nbio import read_nb, write_nb
from nbdev.config import create_output, get_config
from nbdev.doclinks import NbdevLookup
from nbdev.process import Processor
from nbdev.processors import FilterDefaults, _default_exp, exec_show_docs
from nbdev.quarto import refresh_quarto_yml
from nbdev.showdoc import show_doc

DIRECTIVES = re.compile(r'\A(?:#\|.*\n+)+')

class docs_in_order(Processor):
    "nbdev documents the functions of a cell from the last to the first, and an overloaded one for each overload"
    def begin(self):
        cells = []
        for added, run in groupby(self.nb.cells, key=lambda cell: getattr(cell, 'has_sd', False)):
            cells += {cell.source: cell for cell in reversed([*run])}.values() if added else run
        self.nb.cells[:] = cells

class Pages(FilterDefaults):
    """nbdev's processing without its own run of `show_doc`.

    Inside a notebook a class has no source file, so no comments on its fields, and cannot name what is defined below it."""
    def base_procs(self): return [docs_in_order if proc is exec_show_docs else proc for proc in super().base_procs()]

def module_of(nb, cfg):
    "The installed module that `nb` exports, or the whole package if it exports none"
    return import_module('.'.join(filter(None, [cfg.lib_path.name, _default_exp(nb)])))

def definition(cls):
    "A class as it is written, without its docstring, which is one line"
    head, docstring, *body = inspect.getsource(cls).splitlines()
    return '\n'.join(['```python', head if any(body) else head.removesuffix(':'), *body, '```'])

def shown(call, module):
    "The Markdown of a `show_doc` call, evaluated in the installed `module`"
    doc = eval(call, vars(module) | {'show_doc': show_doc})
    doc.fn = doc.sym.__qualname__  # by its full name nbdev finds the file but not the line
    text = NbdevLookup().linkify(doc._repr_markdown_())
    if isinstance(doc.sym, type): text = text.replace('```python\ndef ', '```python\nclass ', 1).replace(')->None:\n```', '):\n```', 1)
    # of a class that is made without parameters of its own, a protocol say, its body is what there is to know
    return re.sub(r'```python\nclass \w+\(\n +\*args, \*\*kwargs\n\):\n```', lambda _: definition(doc.sym), text)

def relative(text, page, cfg):
    "`text` with links to the published site made relative to `page`, so that the site works and can be checked anywhere"
    def local(m): return f"]({posixpath.relpath(m[1] or 'index.html', page.parent.as_posix())}"
    return re.sub(r'\]\(' + re.escape(cfg.doc_url.rstrip('/')) + r'/?([^)#\s]*)', local, text)

def tidy(cell, page, module, cfg):
    "Fill in what is shown of the module, and put right what smalldocs takes otherwise than Quarto"
    bare = DIRECTIVES.sub('', cell.source)
    if cell.cell_type == 'raw': cell.source = re.sub(r'^output-file:.*\n', '', cell.source, flags=re.M)
    if cell.cell_type == 'markdown': cell.source = relative(bare, page, cfg)
    if bare.startswith('show_doc('): cell.outputs = create_output(shown(bare, module), 'markdown')
    for data in (out['data'] for out in cell.get('outputs', []) if 'text/markdown' in out.get('data', {})):
        data.pop('text/html', None)  # an element shows its markup, and brings no ids of its own into the page
        data['text/markdown'] = relative(''.join(data['text/markdown']), page, cfg)

def process(cfg):
    "Process a copy of the notebooks for smalldocs; returns its folder"
    folder = cfg.config_path/'_proc'
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(cfg.nbs_path, folder, ignore=shutil.ignore_patterns('.*', '__pycache__', 'llms.txt'))
    for path in folder.rglob('*.ipynb'):
        nb = read_nb(path)
        module = module_of(nb, cfg)
        Pages()(nb)
        for cell in nb.cells: tidy(cell, path.relative_to(folder), module, cfg)
        write_nb(nb, path)
    edit(folder/'nbdev.yml', r'^format-links:.*', '')
    return folder

def edit(path, pattern, new):
    path.write_text(re.sub(pattern, new, path.read_text(encoding='utf-8'), flags=re.M | re.S), encoding='utf-8')

def render(folder, site):
    "Render the processed notebooks into `site`"
    if subprocess.run([Path(sys.executable).with_name('smalldocs'), 'render', '--quiet', '--strict', folder]).returncode:
        sys.exit('The site was not built.')
    shutil.rmtree(site, ignore_errors=True)
    shutil.move(folder/site.name, site)
    for theme in site.glob('site_libs/themes/*.css'): edit(theme, r'@import url\([^)]*\);', '')  # web fonts
    for page in [*site.rglob('*.llms.md'), site/'llms.txt']:  # nbdev's name for a page's Markdown, which the docstrings link to
        edit(page, r'\.llms\.md', '.html.md')
        page.rename(page.with_name(page.name.replace('.llms.md', '.html.md')))

def main():
    cfg = get_config()
    if cfg.lib_path.name not in NbdevLookup().entries: sys.exit('The package is not installed: pip install -e .')
    refresh_quarto_yml()
    render(process(cfg), cfg.doc_path)
    print(f'Built {cfg.doc_path}')

if __name__ == '__main__': main()
