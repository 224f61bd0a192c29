"""`python -m pairrank` starts the command line."""

from pairrank.cli.app import main

if __name__ == "__main__":
    main()
