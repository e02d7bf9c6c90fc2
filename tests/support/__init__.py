"What tests share: servers, clients, logs, a clock."
from pathlib import Path

ROOT = Path(__file__).parents[2]
