"""Weights between machines: whole rounds of averaging over SSH. Knows no face, inbox or schedule.

rounds            one round from end to end, journaled; the seam that daemon/ and the CLI call
watch             is a round due? one look at every machine
round_steps       the steps of a round, each on all its machines
round_settings    what a round is told
round_report      pure: a round's record as a value for people and metrics
journal           what a round has done, on disk before anything builds on it
standing          pure: what the journals say, and where machines stand
store             what is kept on this computer for one model
machines          the machines of one model, reached
types             Machine, Snapshot, Round: the values that flow
errors            what can go wrong

stages            pure: which stage a training is in, and whether a round is due
snapshot          one consistent copy off a machine
push              new weights onto it, all or nothing
places            pure: where dfld keeps things in a model folder
accept            who may be averaged, and who may be given the result
compare           pure: do machines train the same thing?
divergence        pure: how far apart they are
gates             pure: which of them are left out

average           pure: the arithmetic
average_model     a whole model, file by file; the seam that a round calls
average_files     dfld average: files in, one averaged file out
averaging_pass    one fused pass over the weights of several machines
tensor_file       the tensors of one file by name and range
tensor_formats    .npy and .safetensors
tensor_arrays     averaging arrays that are in memory
text_payloads     weight files whose tensors are stored as text (pickle protocol 2)
npz_files         .npz archives
torch_files       PyTorch files

trainer           stopping, starting and reloading the training program
trainer_contract  what that means, in words
trainer_command   by commands
trainer_hook      by notes to a line inside the trainer
hook_program      that line's program; runs on the machine
proof             pure: did a trainer take the weights it was given?

transport         the contract of files and commands on a machine; its version for a local folder
ssh_files         its version for real machines
ssh               connections with paramiko; the only file that imports it
known_hosts       which keys belong to which machines
ssh_openssh       OpenSSH's own program as the road for bulk data
sftp              single requests about files
sftp_bulk         whole files, many requests under way
in_flight         a file on its way, to the byte
"""
