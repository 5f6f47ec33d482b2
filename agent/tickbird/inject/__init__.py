"""Puts a probe into a running Node process by the inspector of its own, and closes that at once.

Done by a short-lived process of its own (``injector``), so that an agent that is killed meanwhile
leaves no inspector open; ``launch`` is the agent's side. Nothing is sent to a process that has not
passed every gate (``gates``), and what was begun stands in a journal until it is undone.
"""
