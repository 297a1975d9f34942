"""What a running service can be asked, and the socket for it.

server           the control socket: one JSON line each way
client           asking a running service
wire             what both sides share
request          one request, its details taken by type
handlers         what can be asked
job_orders       dfld jobs retry and cancel, dfld quarantine release
faceset_orders   dfld mask and curate in a workspace that the service fills
forget           dfld forget: what was made of a person, removed
verify           dfld verify: the faces of an inbox, read back
describe         what ledger and runners hold, as reports
running_service  the service as those who answer see it
"""
