"""Backends: one module or folder each, loaded only when asked for."""
