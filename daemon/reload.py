"""What a reload may change: pure comparison of the configuration that runs with the one that should."""

from __future__ import annotations

from daemon.config.schema import Config


def needs_restart(old: Config, new: Config) -> list[str]:
    """Return the keys that a running service cannot change, with both values."""
    pairs = {
        "service.state_dir": (old.service.state_dir, new.service.state_dir),
        "service.log_format": (old.service.log_format, new.service.log_format),
        "http.listen": (old.http.listen, new.http.listen),
        "http.hosts": (old.http.hosts, new.http.hosts),
    }
    return [f"{key} (now {before}, wanted {after})" for key, (before, after) in pairs.items() if before != after]


def changes(old: Config, new: Config) -> list[str]:
    """Return what differs, one phrase each, for the log."""
    before = {inbox.name: inbox for inbox in old.inboxes}
    after = {inbox.name: inbox for inbox in new.inboxes}
    found = [f"inbox {name} is new" for name in after if name not in before]
    found += [f"inbox {name} is gone" for name in before if name not in after]
    found += [f"inbox {name} changed" for name in after if name in before and before[name] != after[name]]
    for table in ("service", "watch", "models", "limits", "disk", "retry", "machines", "syncs", "hooks"):
        if getattr(old, table) != getattr(new, table):
            found.append(f"[{table}] changed")
    return found
