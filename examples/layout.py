"What the pages of the gallery share: the scripts, the frame around an example, and its code."
import io, keyword, tokenize
from pathlib import Path

from fasthtml.common import *
from fasthtml_sse import *

npm = Path(__file__).parent.parent/'tests'/'node_modules'
icon = ("data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><circle cx='8' cy='8' r='7' fill='%230d8a72'/>"
        "<circle cx='8' cy='8' r='2.6' fill='white'/></svg>")

def script(build, address):
    "The script from npm where it is at hand, which works offline, else from its public address."
    return Script(src=f'/npm/{build}' if (npm/build).exists() else address)

headers = (charset, viewport,
    Meta(name='color-scheme', content='light dark'),
    Link(rel='icon', href=icon), Link(rel='stylesheet', href='/style.css'),
    script('htmx-2.0.7/dist/htmx.min.js', htmxsrc.src), *sse_headers())

def frame(title, *content, nav=()):
    "A page of the gallery."
    return (Title(f'{title} · fasthtml-sse'),
        Header(A(Span(cls='dot'), 'fasthtml-sse', href='/', cls='brand'), ConnectionStatus(), nav),
        Main(*content),
        Footer(P('Server-sent events, FastHTML and htmx. Each page is one short Python file.')))

def example(title, look, *live, code, more=()):
    "The page of an example: what to `look` at, the `live` part, the file it is made by, and `more` files."
    return frame(title, H1(title), P(look, cls='look'), Section(*live, cls='panel', aria_label='Live'),
        source(Path(code)), *[source(Path(path), folded=True) for path in more], nav=A('All examples', href='/'))

def source(path, folded=False):
    "A file to read, folded in and out by its name."
    text = path.read_text(encoding='utf-8')
    lines = f'{len(text.splitlines())} lines'
    return Details(
        Summary(Span('The code'), Code(f'{path.parent.name}/{path.name}'), Small(lines)),
        Pre(Code(*highlight(text)), tabindex=0, role='region', aria_label=f'The code of {path.name}'), cls='source', open=not folded)

def highlight(text):
    "Python `text` in pieces, with its keywords, strings, comments, numbers and decorators marked."
    lines, row, col = text.splitlines(keepends=True), 1, 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        (start, begin), (end, until) = token.start, token.end
        if start > row: yield ''.join([lines[row-1][col:], *lines[row:start-1], lines[start-1][:begin] if begin else ''])
        else: yield lines[row-1][col:begin] if row <= len(lines) else ''
        kind = colour(token)
        yield Span(token.string, cls=kind) if kind else token.string
        row, col = end, until

def colour(token):
    "The class for a token, `None` for plain text."
    if token.type == tokenize.NAME: return 'keyword' if keyword.iskeyword(token.string) else None
    if token.type == tokenize.OP: return 'decorator' if token.string == '@' else None
    name = tokenize.tok_name[token.type]
    return 'string' if name == 'STRING' or name.startswith('FSTRING') else name.lower() if name in ('COMMENT', 'NUMBER') else None
