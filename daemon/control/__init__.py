"""What a running service can be asked, and the socket for it.

server   the control socket: one JSON line each way
answers  what it can be asked
forget   dfld forget: what was made of a person, removed
"""
