"""The templates of ci/templates: read, checked, and their steps run on this machine."""
