"""Packets over ENVELOPE and GET RESPONSE: the hop of docs/protocol.md, section 1, both sides."""
