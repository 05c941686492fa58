"""What a user would pick instead of arbd, measured beside it in one run: ``python -m bench.peers``.

    __main__        options, progress, table, files
      rounds        round-robin over the peers; one process per turn, nothing else alive meanwhile
        turn        that process: the caller of one peer           ── samples as JSON ──> rounds
          measure   what is measured, the same for every peer, through base.Peer
            clients/  how each peer is started and called          apps/  what its workers import
    report, plot    samples -> table, figure, Markdown, pictures

Every peer runs the functions of ``actions`` with the same arguments.
"""
