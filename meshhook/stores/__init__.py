"""Stores: where records and shared state live."""
