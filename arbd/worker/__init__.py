"""The worker process: takes tasks from its ring, runs the author's actions, answers."""
