"""`python -m pairrank.experiments` starts the command line, as `pairrank` and `python -m pairrank` do."""

from pairrank.cli.app import main

if __name__ == "__main__":
    main()
