"""What is known of each runtime: how to recognise it, and the files that run inside a target."""
