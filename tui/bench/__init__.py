"""What the console costs, measured on this machine."""
