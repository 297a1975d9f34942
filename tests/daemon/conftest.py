"""What the tests of the daemon may ask for: the machines with a real sshd that the tests of synchronisation use."""

from tests.sync.conftest import ssh_machines

__all__ = ["ssh_machines"]
