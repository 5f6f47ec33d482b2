"""Judges what the recorder kept: checks → findings → the report, and its renderings."""
