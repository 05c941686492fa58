"""The interface for authors: providers and actions. What runs them is ``arbd.worker``.

@action / @provider.action ──> actions.py (what an action is) ──> binding.py (its arguments)
Provider (provider.py) ──> start() ──> start.py: the script's process becomes ``arbd run --script``
"""
