"""The engine: the only room that imports torch and MONAI. It runs in a worker process."""
