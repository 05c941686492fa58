"""Asking a running daemon, both ends: ``arbd status``, ``arbd limits``, ``arbd drain``.

arbd status ──> client.py ──socket──> server.py ──> supervisor: report(), commands
                     names.py     which daemons run, where their sockets are
                     protocol.py  requests and answers as bytes          reports.py  what an answer holds
"""
