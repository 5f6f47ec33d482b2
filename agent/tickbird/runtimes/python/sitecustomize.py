"""Loaded by every Python that `tickbird exec` starts: its folder stands first on PYTHONPATH.

It arms the probe, then hands over to the sitecustomize of the application, which ours shadows.
The folder stays on PYTHONPATH for children: a worker that is started anew (multiprocessing's
spawn, a reloader) cannot be told from a tool by its environment. A process that never runs an
event loop and serves no request pays for one small module and sends nothing.

Runs on whatever interpreter the service has (3.8 and later; older ones are left alone), and not
at all under -E, -I or -S.
"""

import sys


def _arm() -> None:
    if sys.version_info < (3, 8):  # noqa: UP036 - the service's interpreter, not ours
        return
    try:
        import tickbird_probe  # type: ignore[import-not-found,unused-ignore]

        tickbird_probe.arm()
    except Exception:  # noqa: BLE001, S110, RUF100 - a probe never breaks its service
        pass


def _hand_over() -> None:
    ours = sys.modules.pop("sitecustomize")
    here = __file__.rpartition("/")[0]
    sys.path[:] = [entry for entry in sys.path if entry.rstrip("/") != here]
    try:
        # The application's own, now that ours is out of the way.
        import sitecustomize  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        sys.modules.setdefault("sitecustomize", ours)


_arm()
_hand_over()
