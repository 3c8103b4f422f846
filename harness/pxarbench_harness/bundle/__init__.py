"""Evidence: one file with everything that it takes to check a session, or a gate's verdict, on another machine."""
