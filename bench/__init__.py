"""The numbers that the README quotes, measured on the machine at hand: ``python -m bench``."""
