"""Pickles, as DeepFaceLab reads and writes them. None is ever unpickled.

loading          load_closed: what an untrusted pickle holds, by a closed list of names
dumping          dump_for_dfl: a pickle that DeepFaceLab's Python 3.6 reads
scanning         scan_pickle: where the arrays of a pickle lie, found without reading them
machine          the interpreter behind load_closed, which can run nothing
numpy_values     the closed list of names that it knows
scanned_values   what a scan makes of a stream
loss_rows        the rows of a loss history, read as a table
"""
