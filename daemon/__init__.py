"""The service: when to work, what was done, what to tell the operator; and the `dfld` command.

cli               arguments, exit codes, what a person sees
cli_average       dfld average
cli_completion    dfld completion, man
cli_control       dfld status, jobs, quarantine, pause, resume, drain, scan, reload, forget
cli_demo          dfld demo
cli_doctor        dfld doctor
cli_extract       dfld extract
cli_photos        dfld match, reference, backends
cli_service       dfld run, check
cli_sync          dfld sync, rounds, rollback, machines
cli_status        the words and tables of dfld status and jobs
cli_tune          dfld tune
command_tree      the command line as plain values
completion        completion scripts made from it
man_page          dfld(1) made from it
cli_options       options that several commands share
cli_output        what a command prints: results, JSON and errors
cli_stop          Ctrl-C and SIGTERM while a command works
demo_clip         footage for the demo and the tests

service           the composition root: builds every part, starts it, ends it in order
state_folder      the state folder, held by one service at a time
health            how the service is: alive, ready, stuck, and what it works on
reload            pure: what a reload may change
control           the control socket: one JSON line each way
control_answers   what it can be asked
plan              dfld scan --dry-run
forget            dfld forget: what was made of a person, removed
events            what happened, as one value
hearing           who hears of it: log, metrics, hooks
hooks             tells others: the queue and thread of each hook
hook_calls        one ping or command, within its limit
averaging         the job of one model: is a round due? do it, tell what came of it
scheduler         APScheduler for what recurs

inboxes           the inboxes of a running service
intake            one inbox from arrival to claim
watcher           file events: hints that make a scan come sooner
scan              what lies in an inbox now; the truth
inbox             pure: which files are complete
roots             is the folder still the one that is watched?
mounts            which filesystem a path lies on
writers           who has a file open for writing
truncation        does a file promise more than is there?
hashing           content hashes
claims            from settled to claimed

dispatch          which job runs next
ingest            one job from claim to outcome
orders            what a worker is told about one job
outcomes          how a job ends, written down
originals         moves, deletes, quarantines a file; never loses one
tidying           originals of ended jobs, now or when it becomes possible
outputs           the files that one clip left in a workspace
retry             pure: when a job is tried again
disk              the disk reserve

worker            the child process that owns models and decoders
worker_engine     its extractor
worker_failures   pure: what a failure in it means for its job
worker_link       the service's end of it
worker_messages   what both say to each other

ledger            one SQLite file that remembers everything; one writer
ledger_schema     its tables and migrations
ledger_claims     arrivals in it
ledger_jobs       jobs in it

config            config.toml -> Config, or every problem at once
config_schema     every table and key, said once
config_sync       the tables of machines, models and hooks
config_extract    the table of extraction settings
config_values     durations, sizes, names, paths
config_checks     what must hold between keys
config_lines      on which line each key stands
config_nodes      finding one's way in the JSON Schema
config_words      what is wrong, in words
config_docs       writes the files that are generated from schema and catalogue

doctor            the whole examination of dfld doctor
doctor_system     user, versions, port, systemd unit, clock
doctor_models     ONNX Runtime, GPU, models and licences
doctor_folders    permissions, mounts, file events, space
doctor_ledger     schema and damage
doctor_machines   key, host key, SFTP, trainer, model files
diagnosis         a verdict, a sentence, a remedy
machines          [[machine]] and [[sync]] as values of sync

metrics           the numbers on a registry
metrics_catalogue every metric, declared once
readings          what is read at each scrape
http              /metrics, /livez, /readyz
notify            systemd: READY, STATUS, WATCHDOG
log               how log lines look
errors            what can go wrong, and the exit codes
"""
