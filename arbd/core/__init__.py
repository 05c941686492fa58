"""Decisions and bytes: pure modules, tested without a process, a socket or a sleep."""
