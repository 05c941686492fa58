"""What is asked of a running daemon and told by it: over its control socket, and over HTTP.

arbd status ──> client.py ──socket──> server.py ──> supervisor: report(), commands
                     names.py     which daemons run, where their sockets are
                     protocol.py  requests and answers as bytes          reports.py  what an answer holds

browser, Prometheus ──> http.py, the program of `arbd:http` <──pages of memory── supervisor, workers
                     http_boot.py     how it is started and told          http_server.py, http_request.py  HTTP/1.1
                     snapshot.py      what the supervisor says of itself  probes.py, health.py   alive? ready? why not
                     exposition.py    /metrics: the daemon's         author_metrics.py, author_text.py  an author's
                     page.py          the status page                     status_document.py, recent.py  what it shows

arbd trace ──> trace_reader.py ──> chrome_trace.py         arbd profile ──> folded_stacks.py ──> flame_graph.py
"""
