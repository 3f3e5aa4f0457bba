"""``python -m rsat_data``: the same as the console script."""

from rsat_data.cli import main

if __name__ == "__main__":
    main()
