"""A conformance test report from a run: where every requirement stands, said as ISO/IEC 17025:2017, 7.8 asks, with hashed evidence.

See docs/certify.md.
"""
