"Where the project is, and how to work on a copy of it."
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = 'fasthtml_sse'
NOT_SOURCE = shutil.ignore_patterns('.*', '__pycache__', 'node_modules', '_proc', '_docs', 'build', 'dist', '*.egg-info')

def copy_into(folder: str | Path) -> Path: return Path(shutil.copytree(ROOT, Path(folder)/ROOT.name, ignore=NOT_SOURCE))
