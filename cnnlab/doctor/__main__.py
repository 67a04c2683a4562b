"""Run `python -m cnnlab.doctor`."""

from cnnlab.doctor import main

if __name__ == "__main__":
    main()
