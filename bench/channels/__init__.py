"""The channel stack: small messages between numbered nodes, and the four calls (docs/protocol.md, section 3), both sides."""
