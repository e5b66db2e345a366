"""A comparison as something to read: one HTML page that needs nothing else, and the same in Markdown."""

from adaptkit.evidence.report.page import html, put, write
from adaptkit.evidence.report.twin import markdown

__all__ = ["html", "markdown", "put", "write"]
