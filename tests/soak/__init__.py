"""Minutes of load with faults: `make soak`. A scenario makes the load; accounts and health are compared at its end."""
