"""Formats of the bytes that two processes of one daemon share. Pure: shared memory is a ``memoryview``.

supervisor ──task ring──> worker       ring.py    single producer, single consumer, no lock
supervisor <──result ring── worker     frame.py   a task, a result: fixed-size heads over raw bytes
supervisor <──── cell ──── worker      cell.py    what a worker publishes: one writer a word
link process <── rings, link_cell ──>  link_frame.py, link_cell.py: the same for a link process
supervisor <── messages ──> zygote     zygote_protocol.py
supervisor ──> arbd:http               metrics_page.py   what is counted, and a snapshot
worker ──────> arbd:http               author_page.py    what an author's actions count

layout.py  where each of them lies in the memory of one worker; LAYOUT_VERSION
"""
