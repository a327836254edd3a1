"""The endpoints over HTTP: what the policies do, for people, probes and scrapers.

What is answered is decided once, without any framework, in :mod:`.endpoints`; :mod:`.asgi`,
:mod:`.wsgi` and :mod:`.server` carry it.
"""
