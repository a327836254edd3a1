"""What ``meshhook top`` is made of: readings, rows, a view on them, and the terminal."""
