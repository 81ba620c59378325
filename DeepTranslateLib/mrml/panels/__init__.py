"""Composite widgets of the module panels, one a file."""
