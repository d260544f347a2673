"""What stands behind ``run_all.sh``: options, jobs, notebooks executed, the record of what was run on what."""
