"""DeepTranslate: turn one medical image into another with deep learning."""

__version__ = "0.1.0"
