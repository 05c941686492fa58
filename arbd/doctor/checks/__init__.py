"""The checks: pure functions from facts to findings, a module for each topic. Who looks is ``arbd.doctor.readers``."""
