"""What the command line of `basf2` says, for those that read it while events are processed."""

input_files = []
max_events = 0
dry_run = False
