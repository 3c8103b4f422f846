"""Gates: what a change of the code may not alter unnoticed, and the verdict about it. See README.md."""
