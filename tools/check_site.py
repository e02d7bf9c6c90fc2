"Check the built site without a network: links and anchors lead somewhere, and no page loads anything from another host."
import re, sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED_LINKS = {'stylesheet', 'icon', 'preload', 'modulepreload', 'manifest'}
FETCH = re.compile(r'''(?:\burl\(|@import|\bfrom|\bimport\(?|\bfetch\()\s*['"]?((?:https?:)?//[^'")\s]+)''')

def is_foreign(url): return bool(urlsplit(url).netloc)

class Page(HTMLParser):
    "The ids of a page, its links, and what it loads from elsewhere"
    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.foreign, self.in_script = set(), [], [], False
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attrs):
        attrs = {name: value or '' for name, value in attrs}
        self.in_script = tag in ('script', 'style')
        self.ids.add(attrs.get('id'))
        fetched = tag != 'link' or FETCHED_LINKS & set(attrs.get('rel', '').split())
        for name in 'href', 'src':
            url = attrs.get(name)
            if not url: continue
            if not is_foreign(url): self.links.append(url)
            elif name == 'src' or tag == 'link' and fetched: self.foreign.append(url)

    def handle_data(self, data):
        if self.in_script: self.foreign += FETCH.findall(data)

    def handle_endtag(self, tag): self.in_script = False

def target(link, path):
    "The file that `link` on the page at `path` leads to"
    file = (path.parent/unquote(urlsplit(link).path)).resolve() if urlsplit(link).path else path
    return file/'index.html' if file.is_dir() else file

def problems(path, pages):
    for url in pages[path].foreign: yield f'loads {url}'
    for link in pages[path].links:
        url, file = urlsplit(link), target(link, path)
        if url.scheme or link == '#': continue
        if not file.exists(): yield f'dead link {link}'
        elif url.fragment and file in pages and unquote(url.fragment) not in pages[file].ids: yield f'dead anchor {link}'

def main(site):
    pages = {path: Page(path) for path in site.rglob('*.html')}
    found = [f'{path.relative_to(site)}: {problem}' for path in pages for problem in problems(path, pages)]
    styles = ((path, path.read_text(encoding='utf-8')) for path in site.rglob('*.css'))
    found += [f'{path.relative_to(site)}: loads {url}' for path, text in styles for url in FETCH.findall(text)]
    print(*found, f'{len(pages)} pages, {len(found)} problems', sep='\n')
    return bool(found) or not pages

if __name__ == '__main__': sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else '_docs').resolve()))
