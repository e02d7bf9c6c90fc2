"A gallery of live pages, one short file each: `python -m examples`."
