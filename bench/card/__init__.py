"""The reference software card: links, node, four calls, applications, files."""
