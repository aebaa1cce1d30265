"""The host platform: node 0 of the chain, the gateway, the directory, the uplinks."""
