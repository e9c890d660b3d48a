"""The command line: thin front ends over the headless core, one module a command group."""
