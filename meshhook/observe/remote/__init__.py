"""Asking other processes over HTTP, in bounded time, and looking at what they say."""
