"""Ways to see what the policies do, from events and statistics. No policy knows of them."""
