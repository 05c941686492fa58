"""The supervisor process: the hub link, dispatch, deadlines, and the life of the workers. It never runs, nor decodes,
what an author or a caller wrote.

    main.py (start, serve, drain, stop)
      ├─ flow.py         every task from its arrival to its verdict        halt.py   what ends one other than its answer
      │   ├─ wakeup.py   the doorbell, and when to look next                watch.py  deadlines, and slow tasks
      │   ├─ admission.py   may a task run, and for how long          lost_run.py   a run that ended with its worker
      │   └─ limits/     rate limits: who may start
      ├─ pool.py, worker.py            worker processes: memory, life, replacement
      ├─ generations.py, loading.py, zygote_link.py   the author's code: load, reload, fork
      ├─ drain.py        the end of service
      └─ reporter.py     what the daemon tells about itself          tracing.py, profiling.py   pictures of time
          └─ metrics.py, http_process.py   counted once a second, served by a process of its own

    request.py  what the command line asks for        describe.py  what is in a target, without running it
"""
