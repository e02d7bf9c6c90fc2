"""Write the page's script as browsers get it: `sse.min.js`, made by terser from the files that are read.
`--check`: only report whether it is up to date."""
import subprocess, sys
from pathlib import Path

from fasthtml_sse import page

TERSER = Path(__file__).parent.parent/'tests/node_modules/.bin/terser'


def minify(source: str) -> str:
    if not TERSER.exists(): sys.exit('terser is missing: run `make tests/node_modules/.package-lock.json`')
    command = [TERSER, '--ecma', '2022', '--compress', 'passes=2,unsafe_arrows=true', '--mangle']
    return subprocess.run(command, input=source, text=True, capture_output=True, check=True).stdout


def main() -> None:
    target, sources = Path(page.__file__).parent/'sse.min.js', page._sources()
    text = f'// {page._digest(sources)}\n{minify(sources)}'
    if '--check' not in sys.argv: target.write_text(text, encoding='utf-8')
    elif not target.exists() or target.read_text(encoding='utf-8') != text:
        sys.exit(f'{target.name} was not made from the present files: run `make sync`')


if __name__ == '__main__': main()
