"""``tickbird exec``: a service, its output kept safe, and the agent beside it.

The supervisor owns the service's pipes and never waits for anybody: not for the terminal, not for
the disk, not for the agent. Nothing here imports the configuration before the service runs.
"""
