"Write README.md from the index notebook. `--check` only says whether it is up to date."
import re, sys
from fastcore.nbio import read_nb
from nbdev.config import get_config
from nbdev.processors import FilterDefaults
from nbdev.readme_filter import doc_link

DIRECTIVE = re.compile(r'^#\| *([\w-]+):? *(.*)\n?', re.M)
CALLOUT = re.compile(r'^:::+ *\{\.callout-(\w+)[^}]*\}\n(.*?)\n:::+$', re.M | re.S)
LINK = re.compile(r'(?<=\]\()[^)\s]+')

def alert(match):
    "A Quarto callout as a GitHub alert"
    body = re.sub(r'^#+ (.*)$', r'**\1**\n', match[2].strip(), count=1, flags=re.M)
    return '\n'.join(f'> {line}'.rstrip() for line in [f'[!{match[1].upper()}]', *body.splitlines()])

def prose(source, doc_url):
    source = CALLOUT.sub(alert, DIRECTIVE.sub('', source))
    return LINK.sub(lambda m: doc_link(m[0], doc_url), source)

def output(out):
    "One output of a cell: Markdown and HTML as they are, text indented"
    data = out.get('data', {})
    for kind in 'text/markdown', 'text/html':
        if kind in data: return ''.join(data[kind])
    text = ''.join(out.get('text') or data.get('text/plain', ''))
    return '\n'.join(f'    {line}'.rstrip() for line in text.rstrip().splitlines())

def code(cell):
    options = dict(DIRECTIVE.findall(cell.source))
    source = DIRECTIVE.sub('', cell.source).strip()
    shows = lambda option: options.get(option) != 'false' and options.get('include') != 'false'
    if source and shows('echo'): yield f'```python\n{source}\n```'
    if shows('output'): yield from map(output, cell.get('outputs', []))

def readme(cfg):
    nb = read_nb(cfg.nbs_path/cfg.readme_nb)
    FilterDefaults()(nb)
    parts = [f"# {nb.frontmatter_['title']}", nb.frontmatter_.get('description', '')]
    for cell in nb.cells:
        if cell.cell_type == 'markdown': parts.append(prose(cell.source, cfg.doc_url))
        if cell.cell_type == 'code': parts.extend(code(cell))
    return '\n\n'.join(part.strip('\n') for part in parts if part.strip()) + '\n'

def main(check):
    cfg = get_config()
    path, text = cfg.config_path/'README.md', readme(cfg)
    if not check: path.write_text(text, encoding='utf-8')
    elif not path.exists() or path.read_text(encoding='utf-8') != text:
        sys.exit(f'README.md is not what {cfg.readme_nb} gives: run `make sync`.')

if __name__ == '__main__': main('--check' in sys.argv)
