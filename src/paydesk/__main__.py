"""`python -m paydesk` is the command line."""

from paydesk.cli import main

if __name__ == "__main__":
    main()
