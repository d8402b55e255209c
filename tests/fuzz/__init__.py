"""Long randomised runs: `make fuzz`. One module per target; `report.py` counts, `__main__.py` chooses and prints."""
