"""The safeguards of the package, each taken out once: does the test that guards it fail?

`python -m tests.mutations [part of a name ...]` tries those whose names hold a part, or all. No test runs it: it takes long."""
import argparse, os, re, signal, subprocess, sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory, TemporaryFile
from time import monotonic
from typing import NamedTuple

from tools.project import PACKAGE, ROOT, copy_into

from .cases import MUTATIONS, Mutation

OPTIONS = ('-x', '-q', '--tb=no', '-p', 'no:cacheprovider', '-p', 'no:randomly', '--no-header', '-m', 'not full', '-o', 'timeout=30',
    '--hypothesis-seed=0')
LIMIT = 120  # seconds for the tests of a mutation; who takes longer hangs
CHECK_LIMIT = 1200  # seconds for all of them, with nothing broken
PASSED, FAILED = 0, 1  # what pytest exits with; anything else means that no test ran


class Run(NamedTuple):
    "What became of some tests."
    code: int | None  # `None` if they had to be stopped
    told: str  # the first that failed, or the last line


class Outcome(NamedTuple):
    "What became of a mutation: `red` is as it should be."
    verdict: str
    mutation: Mutation
    told: str
    seconds: float = 0

    def __str__(self) -> str: return f'{self.verdict:5} {self.mutation.name} ({self.told}, {self.seconds:.1f} s)'


def copy_project(folder: str) -> Path:
    "A copy of the project in `folder`, with what the browser loads."
    root: Path = copy_into(folder)
    (root/'tests/node_modules').symlink_to(ROOT/'tests/node_modules')
    found = call(root, LIMIT, '-c', f'import {PACKAGE}; print({PACKAGE}.__file__)')[1].strip()
    if not found.startswith(str(root)): sys.exit(f'{found} is imported, and not the copy in {root}')
    return root


def call(root: Path, limit: float, *args: str) -> tuple[int | None, str]:
    "Run Python in a copy. Its exit code, `None` if it had to be stopped, and what it has said."
    env = os.environ | {'PYTHONPATH': str(root), 'PYTHONDONTWRITEBYTECODE': '1'}  # a stale bytecode would hide a mutation
    with TemporaryFile('w+') as said:  # who is left of those who hang would keep a pipe open
        process = subprocess.Popen([sys.executable, *args], cwd=root, env=env, stdout=said, stderr=said, start_new_session=True)
        code: int | None = None
        try: code = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        return code, said.read()


def run_tests(root: Path, limit: float, *tests: str) -> Run:
    "Run `tests` until one fails."
    code, output = call(root, limit, '-m', 'pytest', *OPTIONS, *(f'tests/{test}' for test in tests))
    failed = re.search(r'^(?:FAILED|ERROR) tests/(\S+?::\w+)', output, re.MULTILINE)
    return Run(code, 'hung' if code is None else failed[1] if failed else output.strip().rpartition('\n')[2])


def verdict(root: Path, mutation: Mutation) -> tuple[str, str]:
    "What the guarding test says of a copy that is broken, and which one it was. One that fails has to fail twice: machines are busy."
    run = run_tests(root, LIMIT, mutation.by)
    if run.code is None: return 'red', 'hung'
    if run.code == PASSED: return 'GREEN', run.told
    if run.code != FAILED: return 'NO TEST', run.told
    return 'ONCE' if run_tests(root, LIMIT, run.told).code == PASSED else 'red', run.told.partition('::')[2]


def outcome(root: Path, mutation: Mutation) -> Outcome:
    "Break a copy, and mend it again."
    path = root/PACKAGE/mutation.file
    source, began = path.read_text(encoding='utf-8'), monotonic()
    path.write_text(source.replace(mutation.old, mutation.new), encoding='utf-8')
    try: word, told = verdict(root, mutation)
    finally: path.write_text(source, encoding='utf-8')
    return Outcome(word, mutation, told, monotonic() - began)


def outcomes(roots: Sequence[Path], mutations: Sequence[Mutation]) -> Iterator[Outcome]:
    "The outcome of each, in order; as many at a time as there are copies."
    free: SimpleQueue[Path] = SimpleQueue()
    for root in roots: free.put(root)
    def in_a_copy(mutation: Mutation) -> Outcome:
        root = free.get()
        try: return outcome(root, mutation)
        finally: free.put(root)
    with ThreadPoolExecutor(len(roots)) as pool: yield from pool.map(in_a_copy, mutations)


def check(root: Path, mutations: Sequence[Mutation]) -> None:
    "Run the guarding tests with nothing broken."
    run = run_tests(root, CHECK_LIMIT, *sorted({mutation.by for mutation in mutations}))
    if run.code != PASSED: sys.exit(f'without a mutation: {run.told}')
    print(run.told)


def main() -> int:
    parser = argparse.ArgumentParser(prog='python -m tests.mutations', description=(__doc__ or '').splitlines()[0])
    parser.add_argument('parts', nargs='*', help='of names')
    parser.add_argument('--no-check', action='store_true', help='do not run the tests without a mutation first')
    parser.add_argument('--jobs', type=int, default=2, help='how many are tried at a time')
    args = parser.parse_args()
    chosen = [mutation for mutation in MUTATIONS if not args.parts or any(part in mutation.name for part in args.parts)]
    if not chosen: parser.error(f"no name holds {' or '.join(map(repr, args.parts))}")
    red = 0
    with TemporaryDirectory() as folder:
        roots = [copy_project(f'{folder}/{n}') for n in range(args.jobs)]
        if not args.no_check: check(roots[0], chosen)
        for each in outcomes(roots, chosen):
            print(each, flush=True)
            red += each.verdict == 'red'
    print(f'{red} of {len(chosen)} are red')
    return int(red < len(chosen))


if __name__ == '__main__': sys.exit(main())
