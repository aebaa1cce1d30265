"""Files that people write: YAML read with every scalar as text, checked against models, mistakes told as ``file:line:column``."""
