"""Several policies around one function: put together, explained, and checked for their order."""
