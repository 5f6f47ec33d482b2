"""The demo: sample services with faults drawn at random, the agent beside them, and the proof that
what the agent says is what the services did."""
