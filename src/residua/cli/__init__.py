"""The command: one small file per verb, thin around the rooms below. No torch before a verb's arguments are good."""
