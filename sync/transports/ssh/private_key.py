"""What kind of file somebody gave as `key`: a private key, or something that only looks like one. Pure.

Not for reading the key itself: `sync.transports.ssh.connection` does, with paramiko. OpenSSH and paramiko say of every
wrong file that it cannot be loaded; most wrong files are one of a few.
"""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_KEY_BYTES = 64 * 1024
"""An RSA key of 16384 bits has 13 kB."""
MAKE_ONE = "dfld needs a private key without a passphrase: ssh-keygen -t ed25519 -N '' -f KEY"
_PUBLIC_BEGINNINGS = (
    b"ssh-",
    b"ecdsa-sha2-",
    b"sk-ssh-",
    b"sk-ecdsa-",
    b"---- BEGIN SSH2 PUBLIC KEY",
    b"-----BEGIN PUBLIC",
)


@dataclass(frozen=True)
class KeyTrouble:
    """Why a file is no private key that can be used, and the remedy."""

    reason: str
    hint: str


def why_no_private_key(content: bytes, name: str) -> KeyTrouble | None:
    """Given the bytes of a key file and its path, say what it is instead of a private key; None where it may be one.

    Whether it has a passphrase only shows when it is loaded, but for those that say so.
    """
    start = content.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        return KeyTrouble("it is empty", f"Empty key files come of copies that broke off; {MAKE_ONE}")
    if len(content) > LARGEST_KEY_BYTES:
        return KeyTrouble(f"it is larger than {LARGEST_KEY_BYTES} bytes, so it is no key", MAKE_ONE)
    if start.startswith(b"PuTTY-User-Key-File-"):
        return KeyTrouble(
            "it is a key of PuTTY (.ppk)", f"puttygen {name} -O private-openssh -o KEY makes a key for OpenSSH and dfld"
        )
    if start.startswith(_PUBLIC_BEGINNINGS):
        private = name.removesuffix(".pub") if name.endswith(".pub") else "the file of the same name without .pub"
        return KeyTrouble("it is the public half of a key", f"`key` must name the private half: {private}")
    if b"PRIVATE KEY-----" not in content:
        return KeyTrouble("it is no private key", MAKE_ONE)
    if b"ENCRYPTED" in content:
        return KeyTrouble("it has a passphrase", f"take it off with ssh-keygen -p -N '' -f {name}, or: {MAKE_ONE}")
    return None
