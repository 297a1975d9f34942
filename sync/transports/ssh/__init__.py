"""Connections to machines over SSH. Not for files: `sync.transports.sftp` speaks about those over a stream from here.

connection      login and commands with paramiko; the only file that imports it
channel         a channel of a connection as a stream of bytes
openssh         OpenSSH's own program as the road for bulk data
watchdog        cuts a connection on which no byte moves
foreign_errors  whatever paramiko raises, when a machine answers nonsense too, as an error of ours
host_keys       may a machine show this host key?
known_hosts     which keys belong to which machines: the file
private_key     pure: what kind of file somebody gave as key
"""
