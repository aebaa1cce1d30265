"""ISO/IEC 7816: layers 1 and 2, and the APDU values carried over them; both sides, without I/O."""
