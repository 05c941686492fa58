"""A package that offers an exporter of spans, as pip would install it: lines of JSON in the file ``$SPANS_FILE``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_MODULE = """
import json, os
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

def _id(number, digits):
    return "" if number is None else format(number, f"0{digits}x")

class FileExporter(SpanExporter):
    def export(self, spans):
        with open(os.environ["SPANS_FILE"], "a") as file:
            for span in spans:
                own, parent = span.context, span.parent
                file.write(json.dumps({
                    "name": span.name, "trace": _id(own.trace_id, 32), "span": _id(own.span_id, 16),
                    "parent": "" if parent is None else _id(parent.span_id, 16),
                    "state": own.trace_state.to_header(), "attributes": dict(span.attributes),
                    "status": span.status.status_code.name, "pid": os.getpid(),
                    "service": span.resource.attributes["service.name"],
                    "events": [[each.name, dict(each.attributes)] for each in span.events],
                }) + "\\n")
        return SpanExportResult.SUCCESS
"""


def install(directory: Path) -> dict[str, str]:
    """Make the package in this directory; the environment with which a daemon finds and uses it."""
    place = directory / "packages"
    info = place / "spans_to_file-1.0.dist-info"
    info.mkdir(parents=True)
    (place / "spans_to_file.py").write_text(_MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spans-to-file\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[opentelemetry_traces_exporter]\nfile = spans_to_file:FileExporter\n")
    return {"OTEL_TRACES_EXPORTER": "file", "SPANS_FILE": str(directory / "spans.jsonl"), "EXTRA_PATH": str(place)}


def spans(directory: Path) -> list[dict[str, Any]]:
    """What was exported, in its order."""
    file = directory / "spans.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
