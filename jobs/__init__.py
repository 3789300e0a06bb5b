"""Your jobs: one file a job. Any module here is found without further registration."""
