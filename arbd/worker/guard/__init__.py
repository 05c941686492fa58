"""The guard of a worker: what one action changes in the process does not reach the next task.

    author's code ── os.chdir, signal.alarm, … ──> wrapper ─> notices: this kind has changed
                                                                 │
    end of the task ── nothing noticed, and it was short ──> the next task, at no cost
                   └── else ─> put back, with one warning ──cannot be──> spoiled: the worker is replaced

Not a sandbox: whoever means harm has ctypes. What only code in C can change is looked at after a task that took a
while, every so many tasks, and before sleep.

    notices     what was changed since the last look, and who may adopt it
    wrappers    the functions of Python that change the process, so that they notice
    kinds       a kind of state: read, put back
    process, kernel, interpreter, settings, registrations, loggers,
    generators, signals, descriptors, imports, threads, thread_exceptions      the kinds there are
    modules     what was imported meanwhile, and may keep what it has set
    python_state       a cheap look at what no wrapper can notice, after every task
    guard       all of them together: baseline, look, rebase

No audit hook: one makes ``id()`` take 414 to 1,400 ns instead of 30 to 60, and every import, ``open``,
``copy.deepcopy`` and ``sys._getframe`` more.
"""
