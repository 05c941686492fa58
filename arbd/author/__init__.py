"""What an author writes against. Not what runs it: that is ``arbd.worker``.

@action / @provider.action ──> actions.py (what an action is) ──> binding.py (its arguments)
Provider (provider.py) ──> start() ──> start.py: the script's process becomes ``arbd run --script``
"""
