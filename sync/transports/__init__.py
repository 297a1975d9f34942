"""Files and commands on a machine, in words, for a local folder and over SSH.

transport       the contract of files and commands on a machine; its version for a local folder
remote_command  one command by /bin/sh, whatever the login shell is and prints
ssh_files       the contract's version for real machines
ssh             connections with paramiko; the only file that imports it
ssh_openssh     OpenSSH's own program as the road for bulk data
sftp            single requests about files
sftp_bulk       whole files, many requests under way
in_flight       a file on its way, to the byte
known_hosts     which keys belong to which machines
private_key     what kind of file somebody gave as key
"""
