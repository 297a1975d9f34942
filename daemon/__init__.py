"""The service: when to work, what was done, what to report to the operator; and the `dfld` command.

cli           the command line: exit codes, what a person sees when something fails
commands      one file a command

service       the composition root: builds every part, starts it, ends it in order
state_folder  the state folder, held by one service at a time
health        how the service is: alive, ready, stuck, and what it works on
reload        pure: what a reload may change
signals       what SIGTERM, SIGINT and SIGHUP ask for
scheduler     APScheduler for what recurs

arrivals      what lies in an inbox, and whether it is complete
inboxes       from a file that arrives to a claimed one
jobs          from a claimed file to its outcome
crew          who does a job
worker        the child processes that open videos and pictures
ledger        one SQLite file that remembers everything

averaging     the job of one model: is a round due? do it, report what came of it
dfl_processes  which programs of this computer work on a workspace
workspace_holds  why no file of a workspace may be moved now
machines      [[machine]] and [[sync]] as values of sync

config        config.toml -> Config, or every problem at once
control       what a running service can be asked
reports       what it answers: typed values, one form as JSON
events        what happened, and who is notified
doctor        what `dfld doctor` examines

metrics       the numbers, and /metrics, /livez, /readyz
readings      what is read at each scrape: from the ledger, the disks, the work in hand, the GPUs
systemd       messages to the service manager: READY, STATUS, WATCHDOG
log           how log lines look

generated_files  writes the example and the docs pages that are made from the code
errors        what can go wrong, and the exit codes
"""
