"""Repeatable load and latency; never imported by the fleet."""
