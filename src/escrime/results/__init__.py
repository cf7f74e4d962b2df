"""What lies in a run folder, read as something a stranger may have sent: where files are, what each may hold, and one sentence
for what does not fit."""
