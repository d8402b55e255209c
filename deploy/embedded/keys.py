"""The keys of a fleet on one machine: made once, kept in the data directory (0600), loaded by path.

The ticket key (fronts mint), the build key (the registry process signs load records) and the key encryption key of
secrets. In production each comes from a secret store instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.directory import write_private
from registry import kek, key_pairs


@dataclass(frozen=True)
class Keys:
    """Paths of the key files."""

    ticket_private: Path
    ticket_public: Path
    build_private: Path
    build_public: Path
    kek: Path

    @classmethod
    def load(cls, directory: Path) -> Keys:
        """Make what is missing."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = cls(*(directory / name for name in ("ticket.key", "ticket.pub", "build.key", "build.pub", "kek.json")))
        for private, public in ((keys.ticket_private, keys.ticket_public), (keys.build_private, keys.build_public)):
            if not private.exists():
                pair = key_pairs.generate()
                write_private(public, pair.public_pem)
                write_private(private, pair.private_pem)
        if not keys.kek.exists():
            kek.generate(keys.kek, key_id="dev-1")
        return keys
