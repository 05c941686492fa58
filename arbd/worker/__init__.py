"""The processes that hold the author's code: the zygote, and the workers that run its actions.

They do not talk to the hub and do not import gRPC.

    zygote.py             imports the code once, forks workers      target.py      finds the provider that TARGET names
    main.py, __main__.py  a worker's start                          failures.py    what is told of code that fails
    loop.py               task ring ─> task ─> result ring          numbers.py     numbers of actions and limits
    execute.py            one task, from bytes to bytes             aio.py         ``async`` handlers
    descendants.py        what they start           watcher.py     ends what one that was killed has left
    limits/               rate limits                               soft_timer.py  deadline and cancel
    tracing.py            the loop with a span for each task        error_place.py where an author's code has raised
"""
