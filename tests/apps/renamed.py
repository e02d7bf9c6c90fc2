"""Run a module where a name in somebody's package is not what it was: `python -m tests.apps.renamed starlette _send uvicorn app:app`.

A function of the standard library, such as `asyncio.base_events:Server.is_serving`, is taken away."""
import re, runpy, sys
from importlib.machinery import PathFinder, SourceFileLoader
from pkgutil import resolve_name

MODULES = r'(^\s*(?:import .*|from \S+)|\blogging\.config\b)|'  # what names modules, and stays

class Renaming(SourceFileLoader):
    "Loads a module in which a name has changed, but for that of modules."
    def get_code(self, fullname):
        known = MODULES + rf'(?<!\w)(?<!\w-){name}\b'
        source = re.sub(known, lambda found: found[1] or f'{name}_renamed', self.get_source(fullname), flags=re.M)
        return compile(source, self.path, 'exec', dont_inherit=True)

class Finder:
    @classmethod
    def find_spec(cls, fullname, path, target=None):
        if fullname.partition('.')[0] != PACKAGE: return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and isinstance(spec.loader, SourceFileLoader): spec.loader = Renaming(fullname, spec.origin)
        return spec

PACKAGE, name, module, *arguments = sys.argv[1:]
if ':' in PACKAGE: delattr(resolve_name(PACKAGE), name)
else: sys.meta_path.insert(0, Finder)
sys.argv = [module, *arguments]
runpy.run_module(module, run_name='__main__', alter_sys=True)
