"""Sessions and verdicts in the formats that other tools read. See README.md; `formats.FORMATS` lists them."""
