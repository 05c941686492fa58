"""``arbd bench``: which settings suit an action on this machine, and whether it got slower since the last time.

    own        the action by itself, in a process of its own                    -> OwnTime
    plan       which settings are worth a try, in which order                   -> points
    measure    one point: a hub, the real daemon, a full queue                  -> Sample
    sweep      points in turn, stage by stage, around the best so far           -> Measurements
    bench      all of that, from a request to a record                          -> Record
    compare    is a difference more than noise?                                 -> Change
    choose     the point to choose                                              -> Point
    report     what it says: table, recommended settings, what changed          -> text
    record     everything as a file; plot: as a picture

``plan``, ``compare``, ``choose``, ``report`` and ``record`` are pure.
"""
