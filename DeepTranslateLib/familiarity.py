"""Does a volume look like what a model was trained on? Asked before it is translated."""
