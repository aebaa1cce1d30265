"""cardbench: the open bench for IP smart cards. Imports only ever point down the list in README.md."""
