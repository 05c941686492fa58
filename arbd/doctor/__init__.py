"""The examination of a machine, and of one provider's settings on it, before or while a daemon runs: ``arbd doctor``.

    case       which settings file, which unit of systemd, whose account, what environment       case.py, unit.py
      │
    readers/   look, and change nothing ──> facts: plain values
      │
    checks/    pure: facts ──> findings: ok | warn | fail, what, why it matters, what to do       findings.py
      │
    examine.py the topics in order; a reader that fails is a finding as well

Not the author's code, which ``arbd check`` loads. Nothing is written, no name is bound, no task is taken, and nothing
waits longer than a few seconds.
"""
