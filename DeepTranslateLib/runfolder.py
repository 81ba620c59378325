"""A training's folder, read without the engine: how far it is and what can be made of it."""
