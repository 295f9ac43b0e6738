"""Reports for people and programs: outcome, terminal, mail, status and history."""
