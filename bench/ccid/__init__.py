"""The USB class for smart card readers (CCID 1.1): messages and descriptors of both sides, the reader's machine and the host's."""
