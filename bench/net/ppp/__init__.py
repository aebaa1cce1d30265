"""PPP: framing (RFC 1662), the option negotiation automaton and LCP (RFC 1661), IPCP (RFC 1332), IPV6CP (RFC 5072)."""
