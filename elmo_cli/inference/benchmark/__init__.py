"""How fast this machine embeds, and how fast it could."""
