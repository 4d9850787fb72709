"""The steps of the commands, and the folders that keep what they made."""
