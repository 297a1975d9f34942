"""One clip, window by window: judged, filled in and written, and what one window hands to the next.

windows         footage in windows: a shot, or a piece of a long one
judged_windows  the driver that extraction and tuning share: window after window, scouted and decided
ask_again       doubtful tracks are asked in more frames who they are
decide          pure: who is who in a window
fill_in         wanted faces in the frames between the looks: written and recorded
resume_state    what one window hands to the next, as JSON: where a killed clip goes on
timed_backend   a backend for several threads that adds up how long its tasks take
closing         what only the whole clip can show: review tracks explained later, near-duplicates
"""
