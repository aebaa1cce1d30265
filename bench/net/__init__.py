"""Layers 3 and 4 without I/O: packets, addresses, routes, ICMP, UDP, TCP, PPP. Bytes and the time in; packets, events and the next deadline out."""
