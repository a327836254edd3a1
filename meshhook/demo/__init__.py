"""The demo: a real service that is broken on purpose, and callers that meshhook shields.

``python -m meshhook demo`` plays it. Only the command line knows of this package.
"""
