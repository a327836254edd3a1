"""The policies, one module a decorator."""
