"""What we know of the Linux kernel's interfaces: /proc, cgroups, perf events. Nothing here knows
of targets or sources; parsing is pure and takes bytes."""
