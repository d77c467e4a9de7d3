"""The digital perfusion phantom."""
