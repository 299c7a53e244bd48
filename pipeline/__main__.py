"""``python -m pipeline``."""

from kitelift import main

if __name__ == "__main__":
    raise SystemExit(main())
