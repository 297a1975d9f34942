"""What a running service reports to who asks: frozen values, and their one form as JSON. Imports nothing of ours.

codec    a report → JSON, and back from what an older or newer dfld sent
service  the whole service: its inboxes, the work in hand, what it lacks
jobs     jobs, and what became of an order about one
models   a model that is averaged, its machines, its last round
orders   what came of a scan, a reload, an order to forget
verify   what reading back the faces of clips has shown
"""
