"""The commands of `dfld`: arguments, and what a person sees. Heavy imports stand inside the functions that run them.

average             dfld average
completion          dfld completion, man
coverage            dfld coverage
curate              dfld curate
face_lines          how many faces, and lines about the first few of them
faces_progress      how far work on faces is, on a terminal
free_faceset        what commands that change a faceset wait for
control             dfld status, jobs, quarantine, pause, resume, drain, scan, reload, forget
demo                dfld demo
doctor              dfld doctor
verify              dfld verify
extract             dfld extract
handed_over         dfld mask and curate where the service fills the workspace: its job, waited for
hints               commands in what is printed keep the --config that was given
options             options that several commands share
output              what a command prints: results, JSON and errors
mask                dfld mask
meta                dfld meta
pack                dfld pack, unpack
photos              dfld match, reference, backends
refine              dfld refine
service             dfld run, check
sort                dfld sort
status              the words and tables of dfld status and jobs
stop                Ctrl-C and SIGTERM while a command works
sync                dfld sync: averaging now
rounds              dfld rounds, rollback
machines            dfld machines: listed and tried, or trusted
model_files         dfld models
models              the model that these name by its [[sync]], and its rounds, opened
track               dfld track
train               dfld train
tune                dfld tune
demo_clip           footage for the demo and the tests

`generated-files/` holds the completion scripts and the man page (`make docs`).
"""
