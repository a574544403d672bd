"""Python imports this by itself if its folder is on PYTHONPATH: the process then reads a host clock that is off."""

import datetime as dt
import os
import time

_OFF = float(os.environ["CHAOS_CLOCK_OFF"])
_time, _time_ns, _datetime = time.time, time.time_ns, dt.datetime
time.time = lambda: _time() + _OFF
time.time_ns = lambda: _time_ns() + int(_OFF * 1e9)


class _Moved(_datetime):
    @classmethod
    def now(cls, tz=None):
        return _datetime.now(tz) + dt.timedelta(seconds=_OFF)


dt.datetime = _Moved
