"""The readers: what the machine says, as the facts that ``arbd.doctor.checks`` judge. They look, and change nothing."""
