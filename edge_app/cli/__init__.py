"""The command line, a front end without logic of its own: one module for each command or group of commands."""
