"""What the tests of monitoring may ask for: the machines with a real sshd that the tests of synchronisation use."""

from tests.sync.conftest import memory_folder, ssh_machines

__all__ = ["memory_folder", "ssh_machines"]
