"""The subcommands of `cardbench`, a subject a file."""
