"""Promises of the fleet, kept against real engines."""
