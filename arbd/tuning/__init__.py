"""``arbd bench``: which settings suit an action on this machine, and whether it got slower since the last time.

    own        the action by itself, in a process of its own                    -> OwnTime
    growth     how many workers, for an action that waits; room: how many fit   -> numbers of workers
    plan       which settings are worth a try, in which order                   -> points
    measure    one point: a hub, the real daemon, a full queue                  -> Sample
    bounds     was it a rate limit, or the hub, that it measured?
    sweep      points in turn, stage by stage, around the best so far           -> Measurements
    bench      all of that, from a request to a record                          -> Record
    compare    is a difference more than noise?                                 -> Change
    choose     the point to choose                                              -> Point
    report     what it says: table, recommended settings, what changed          -> text
    record     everything as a file; plot: as a picture

    against    two builds by turns at one point (build: where the other one is) -> Blocks
    paired     is one of them slower?  paired_report: what it says              -> rows

``growth``, ``plan``, ``bounds``, ``compare``, ``choose``, ``paired``, both reports and ``record`` are pure.
"""
