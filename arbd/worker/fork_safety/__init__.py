"""What importing the author's module has left behind, and whether workers can be forked from that.

    before.py    a look before the import ┐
    threads.py   which import starts them ┴─> look.py ─> facts ─> judge.py ─> Leftover: what, where, fork or exec
                                                                  known.py    the tables of what is known by name
                                              places.py   which global name of the author's holds it
    files.py     a forked worker opens regular files again for itself
    generators.py   random generators that the author has made

Not the reseeding of what is global (``arbd.worker.reseed``), and not signals and timers (``arbd.host.dispositions``).
"""
