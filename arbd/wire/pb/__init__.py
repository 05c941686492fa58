"""Generated from protos/*.proto by `make protos`. Never edited by hand."""
