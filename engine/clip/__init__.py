"""One clip, window by window: tracks judged, faces written, and what one window hands to the next.

windows            footage in windows: a shot, or a piece of a long one
judged_windows     the driver that extraction and tuning share: reads and judges window after window
judge_window       pure: which tracks of a window are the person
sample_doubtful    more embeddings of the tracks of a window that are in doubt
write_window       wanted faces in the frames between the looks: found, written and recorded
resume_state       what one window hands to the next, as JSON: where a killed clip goes on
timed_backend      a backend for several threads that adds up how long its tasks take
after_last_window  what only the whole clip can show: review tracks that later shots explain, near-duplicates
"""
