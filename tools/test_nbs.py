"Run every notebook and say how many passed. `--save` also writes the fresh outputs into them."
import os, sys
from fastcore.parallel import parallel
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.test import nb_test_cells, test_nb

def main(save):
    cfg = get_config()
    skip = cfg.tst_flags.split()
    nbs = sorted(nb.absolute() for nb in nbglob(as_path=True) if nb_test_cells(nb, skip))
    if not nbs: sys.exit('No notebook has a cell to run')
    results = parallel(test_nb, nbs, skip_flags=skip, basepath=cfg.config_path, cell_timeout=cfg.cell_timeout,
                       save=save, n_workers=min(len(nbs), os.cpu_count(), 8))
    failed = 0
    for nb, (ok, seconds) in zip(nbs, results):
        failed += not ok
        print(f"{'ok  ' if ok else 'FAIL'} {nb.relative_to(cfg.nbs_path)} ({seconds:.1f} s)")
    print(f'{len(nbs) - failed} passed, {failed} failed')
    return bool(failed)

if __name__ == '__main__': sys.exit(main('--save' in sys.argv))
