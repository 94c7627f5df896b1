"""Judge the answers of one side beside those of another; where they come from is not known here."""
