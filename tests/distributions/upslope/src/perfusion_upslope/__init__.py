"""Maximum-slope blood flow."""
