"The table of mutations is in step with the package and its tests."
import ast
from functools import cache
from pathlib import Path

import pytest

import fasthtml_sse
from tests.mutations.cases import MUTATIONS
from tests.support import ROOT

PACKAGE = Path(fasthtml_sse.__file__).parent


@cache
def functions(path):
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_no_two_have_one_name(): assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)

@pytest.mark.parametrize('mutation', MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_breaks_what_is_there_and_names_a_test(mutation):
    path, _, test = mutation.by.partition('::')
    assert (PACKAGE/mutation.file).read_text().count(mutation.old) == 1 and mutation.new != mutation.old
    assert (ROOT/'tests'/path).exists() and (not test or test in functions(ROOT/'tests'/path))
