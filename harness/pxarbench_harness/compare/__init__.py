"""Two builds of the program, measured in turn on the same data in one session. See README.md."""
