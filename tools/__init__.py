"""What keeps the house in shape: run by `make lint`, no part of the product."""
