"""`python -m DeepTranslateLib` is the command `deeptranslate`."""

from DeepTranslateLib.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
