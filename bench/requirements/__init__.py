"""The catalogue of requirements: what a card, chain, terminal, reader or host must do, and which clause says so."""
