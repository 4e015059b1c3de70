"""Models as files that other programs run, compared before they get their names. Floor 3: of models of every task."""
