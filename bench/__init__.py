"""Benchmarks: every figure is a comparison made in one run. ``bench/README.md`` says how, and what came out."""
