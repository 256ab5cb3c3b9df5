"""The command `extauthz`."""

from extauthz.cli.app import cli


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    cli(prog_name="extauthz")


if __name__ == "__main__":
    main()
