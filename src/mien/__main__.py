"""`python -m mien`, which is also what torchrun starts."""

from mien.cli import main

if __name__ == "__main__":
    main()
