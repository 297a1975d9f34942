"""Files and commands on a machine, in words, for a local folder and over SSH.

transport       the contract
local           its version for a folder on this computer
ssh_transport   its version for real machines
ssh             connections to machines: login, host keys, streams of bytes
remote_command  one command by /bin/sh, whatever the login shell is and prints
sftp            single requests about files
sftp_bulk       whole files, many requests under way
in_flight       a file on its way, to the byte
"""
