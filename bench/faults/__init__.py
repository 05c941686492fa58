"""What the fault campaign (``python -m bench.faults_campaign``) is made of.

plan       which fault comes when            tasks      numbered tasks and their right answers      } pure
verdicts   what must have been kept, judged from what came out                                      }
daemon     the daemon under trouble          kinds      the faults, each from beginning to end
load       tasks in, results out             provider   the actions: a file that is copied and broken
user       a user for whom a limit of processes holds
"""
