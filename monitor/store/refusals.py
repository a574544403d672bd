"""Explains errors of Redis: what they mean, whether waiting helps, and what to do.

If redis-py has a class for an error (``OOM``, ``READONLY``), it removes the code from the text. It leaves the code of
other errors (``MISCONF``). The error of a script may hold the code of the command that failed further inside.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from monitor.errors import StoreError, StoreUnavailableError


@dataclass(frozen=True)
class Refusal:
    """An error answer of Redis.

    Attributes:
        passes: whether to wait, since it may pass by itself or when somebody repairs Redis.
        words: what it means and what to do, for people.
    """

    passes: bool
    words: str


PASSING = {
    "CONNECTION": "Redis cannot be reached",
    "TIMEOUT": "Redis cannot be reached: it does not answer within redis.socket_timeout_seconds",
    "UNTRUSTED": "Redis cannot be reached: its certificate is not trusted. Set redis.ca_file to the certificate of its "
    "authority, and let redis.url name the host that the certificate names",
    "OOM": "Redis is out of memory and refuses writes. Raise its maxmemory or delete what it does not need",
    "LOADING": "Redis has just started and is still loading its data. It answers when it has",
    "CLUSTERDOWN": "The Redis Cluster does not serve all slots: one of its masters is down. Look at CLUSTER INFO",
    "MASTERDOWN": "Redis is a replica that has lost its master. Bring it back, or let redis.url name the new one",
    "TRYAGAIN": "The Redis Cluster is moving our keys to another node. It answers when it has",
    "MOVED": "The Redis Cluster has moved our keys to another node. If this stays, use redis+cluster:// in redis.url",
    "ASK": "The Redis Cluster is moving our keys to another node. If this stays, use redis+cluster:// in redis.url",
    "READONLY": "Redis is a read-only replica. Make it the master, or let redis.url name the master (redis+sentinel:// "
    "finds it)",
    "MISCONF": "Redis cannot save to its disk and so refuses writes. Look at the disk and at the log of Redis",
    "NOREPLICAS": "Redis refuses writes because it has too few replicas. Bring them back, or lower its "
    "min-replicas-to-write",
    "BUSY": "Redis is busy with somebody's script. If this stays, end it with SCRIPT KILL",
    "MAXCLIENTS": "Redis has as many connections as it allows. Raise its maxclients or close other clients",
    "NOMASTER": "No sentinel knows a working master. Look at the sentinels, and at the name of the master in redis.url",
    "UNBLOCKED": "Redis gave up a read that was waiting: it may have become a replica",
    "NOSCRIPT": "Redis has forgotten a script while it was being called. It is sent again",
    "PROTOCOL": "The server at that address does not speak Redis' protocol. Look at the host and port in redis.url",
}
FINAL = {
    "NOAUTH": "Redis asks for a password, and none is set. Set redis.password_file or OOD_MONITOR__REDIS__PASSWORD",
    "WRONGPASS": "Redis refuses the password, or the user. Change redis.username and redis.password_file, or "
    "OOD_MONITOR__REDIS__PASSWORD",
    "NOPASS": "Redis has no password, but one is set. Empty redis.password and redis.password_file, or give Redis one",
    "NOUSERS": "This Redis is older than 6 and knows no users. Empty redis.username",
    "NOPERM": "The user of Redis may not do this. Change redis.username, or give the user what it needs: ACL SETUSER "
    "NAME ~ood:* &ood:* +@read +@write +@scripting +@connection +@pubsub +time +info",
    "DENIED": "Redis is in protected mode. Give it a password, or let it listen on a loopback address only",
    "NOCLUSTER": "This Redis is not part of a cluster. Let redis.url begin with redis:// or rediss://",
    "CROSSSLOT": "The Redis Cluster refuses a script whose keys lie in several slots. This is an error in the monitor",
    "WRONGTYPE": "A key of this group holds something that the monitor did not write. Use another kafka.group, or "
    "delete the key",
}
REFUSALS = {code: Refusal(True, words) for code, words in PASSING.items()} | {
    code: Refusal(False, words) for code, words in FINAL.items()
}
IN_PIPELINE = " of pipeline caused error: "
"""Stands between the command and what Redis says about it, if the command was one of several sent at once."""

UNKNOWN = Refusal(False, "Redis refuses")

# In this order: the later ones are classes above the earlier ones.
_CLASSES = (
    ("MasterNotFoundError", "NOMASTER"),
    ("AuthenticationWrongNumberOfArgsError", "NOUSERS"),
    ("AuthorizationError", "NOPERM"),
    ("NoPermissionError", "NOPERM"),
    ("BusyLoadingError", "LOADING"),
    ("OutOfMemoryError", "OOM"),
    ("ReadOnlyError", "READONLY"),
    ("MasterDownError", "MASTERDOWN"),
    ("ClusterDownError", "CLUSTERDOWN"),
    ("SlotNotCoveredError", "CLUSTERDOWN"),
    ("TryAgainError", "TRYAGAIN"),
    ("MovedError", "MOVED"),
    ("AskError", "ASK"),
    ("ClusterCrossSlotError", "CROSSSLOT"),
    ("NoScriptError", "NOSCRIPT"),
    ("InvalidResponse", "PROTOCOL"),
    ("TimeoutError", "TIMEOUT"),
)


def translate(error: Exception) -> StoreError:
    """Translate an error of redis-py into one of this package."""
    code, text = find_code(error), " ".join(str(error).split())
    refusal = REFUSALS.get(code, UNKNOWN)
    kind = StoreUnavailableError if refusal.passes else StoreError
    return kind(f"{refusal.words} ({code}: {text})" if code else f"{refusal.words}: {text}")


def find_code(error: Exception) -> str:
    """Find the code of :data:`REFUSALS` in an error; empty if it has none of them."""
    from redis import exceptions, sentinel

    text = str(error).rpartition(IN_PIPELINE)[2]
    if isinstance(error, exceptions.AuthenticationError):
        return _authentication(text)
    for name, code in _CLASSES:
        known = getattr(exceptions, name, None) or getattr(sentinel, name, None)
        if known is not None and isinstance(error, known):
            return code
    if isinstance(error, (exceptions.ConnectionError, OSError)):
        return _connection(text)
    if isinstance(error, exceptions.RedisClusterException):
        alone = "Cluster mode is not enabled" in text or "cluster support disabled" in text
        if alone:
            return "NOCLUSTER"
        return "CLUSTERDOWN" if "cannot be connected" in text or "slots" in text else ""
    return _code_in(text)


def _authentication(text: str) -> str:
    if "no password is set" in text or "without any password configured" in text:
        return "NOPASS"
    return "NOAUTH" if "Authentication required" in text or "already authenticated" in text else "WRONGPASS"


def _connection(text: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "UNTRUSTED"
    return "MAXCLIENTS" if "max number of clients" in text else "CONNECTION"


def _code_in(text: str) -> str:
    """Read the code at the begin of a text; in an error of a script, the code of the command that failed in it."""
    first = text.partition(" ")[0].removeprefix("-")
    if first in REFUSALS:
        return first
    if "max number of clients" in text:
        return "MAXCLIENTS"
    if "script" in text:
        for word in re.findall(r"\b[A-Z]{3,}\b", text):
            if word in REFUSALS:
                return str(word)
    return ""
