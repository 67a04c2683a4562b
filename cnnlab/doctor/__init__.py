"""Say why a network does not learn: the command `cnnlab doctor`."""


def main() -> None:
    """Run the command, as `python -m cnnlab.doctor` does."""
    from cnnlab.doctor.command import main

    main()
