"""Programs to run, read and copy after ``pip install arbd``; the daemon itself imports none of them.

    quickstart.py   the smallest provider: one subclass, one action      arbd dev arbd.examples.quickstart
    order.py        a nested payload schema and what it refuses          arbd check arbd.examples.order
    fx_risk/        value at risk over real exchange rates               arbd check arbd.examples.fx_risk
    demo/           fx_risk under a hub and the daemon, measured         arbd demo

``fx_risk`` and the demo need the extra: ``pip install 'arbd[examples]'``.
"""
