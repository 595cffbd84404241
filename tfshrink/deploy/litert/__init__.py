"""LiteRT files, written tensor by tensor, and the program that runs them."""
