"""`dfld doctor`: facts in, diagnoses with remedies out. Nothing is changed.

examination  the whole examination of dfld doctor
system       user, versions, port, systemd unit, clock
models       ONNX Runtime, GPU, models and licences
folders      permissions, mounts, file events, space
ledger_file  schema and damage
machines     key, host key, SFTP, trainer, model files
diagnosis    a verdict, a sentence, a remedy
"""
