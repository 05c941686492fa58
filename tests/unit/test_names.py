"""One name, one thing: no class name occurs twice in arbd."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import arbd

ROOT = Path(arbd.__path__[0])


def test_a_class_name_is_unique() -> None:
    places = defaultdict(list)
    for file in sorted(ROOT.rglob("*.py")):
        if file.parent.name != "pb":  # generated
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(str(file.relative_to(ROOT)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
