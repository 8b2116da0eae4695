"""A run that stops half way: what is kept, how it goes on, and what it refuses."""
