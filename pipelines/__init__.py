"""The stages, one module each, and the few private modules that run them.

In flow order: ingest, consult, fetch, screen, filter, dedup, balance, emit; then train and audit.
"""
